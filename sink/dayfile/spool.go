package dayfile

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A stream is what of an instrument is in order: its book, its trades, its tickers.
type stream struct {
	instrument marketprism.Instrument
	class      class
}

type class uint8

const (
	books class = iota
	trades
	tickers
)

func classOf(k marketprism.Kind) class {
	switch k {
	case marketprism.KindTrade, marketprism.KindAggTrade:
		return trades
	case marketprism.KindTicker:
		return tickers
	}
	return books
}

// A spool is the temporary file of one stream: frames like those of the log, without days.
type spool struct {
	path       string
	instrument marketprism.Instrument
	buf        []byte // entries that are not written
	packed     []byte
	size       int64
	last       int64 // the local clock of the last entry
	hasSingle  bool  // a trade that is no aggregate
}

const spoolBuffer = 16 << 10

func (s *spool) add(e *entry, zip *zstd.Encoder) error {
	e.local = max(e.local, s.last) // after a restart, which does not know the clocks of all streams
	s.last = e.local
	s.hasSingle = s.hasSingle || e.record.Kind() == marketprism.KindTrade
	s.buf = appendEntry(s.buf, e)
	if len(s.buf) < spoolBuffer {
		return nil
	}
	return s.flush(zip)
}

// breakSpan adds a Gap: records of the book may be missing from here on.
func (s *spool) breakSpan(day int32) {
	s.last = max(s.last, int64(day)*nanosPerDay)
	gap := entry{local: s.last, record: marketprism.Record{
		ReceivedAt: time.Unix(0, s.last), Gap: &orderbook.Gap{Reason: orderbook.GapInvalid, Err: orderbook.Cause("the log of the file sink is damaged")},
	}}
	s.buf = appendEntry(s.buf, &gap)
}

// flush writes the buffer. The file is open only meanwhile, so that the number of streams has no bound.
func (s *spool) flush(zip *zstd.Encoder) error {
	if len(s.buf) == 0 {
		return nil
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s.packed = zip.EncodeAll(s.buf, s.packed[:0])
	fr := frame{payload: s.packed}
	_, err = f.Write(append(appendFrameHeader(make([]byte, 0, frameHeader+len(s.packed)), &fr), s.packed...))
	s.size += frameHeader + int64(len(s.packed))
	s.buf = s.buf[:0]
	return errors.Join(err, f.Close())
}

// each calls yield with every entry. It is valid until yield returns.
func (s *spool) each(yield func(e *entry) error) error {
	if s == nil || s.size == 0 {
		return nil
	}
	r, err := openFrames(s.path, s.size)
	if err != nil {
		return err
	}
	defer r.Close()
	var d decoder
	var e entry
	for {
		f, err := r.next(func(int32, int32) bool { return true })
		if err == io.EOF {
			return nil
		}
		if err == nil {
			d.bad = false
			d.data, err = r.unpack(&f)
		}
		if err != nil {
			return &DamageError{Path: s.path, Offset: f.offset, Err: err}
		}
		for len(d.data) > 0 {
			if err := d.entry(&e, s.instrument); err != nil {
				return err
			}
			if err := yield(&e); err != nil {
				return err
			}
		}
	}
}
