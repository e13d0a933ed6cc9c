package natsbus

import (
	"fmt"
	"strconv"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/scan"
	"github.com/marketprism/marketprism/orderbook"
)

// DecodeRecord reads the body of a message into r, whose memory it does not use. Keys may come in any order, unknown
// ones are skipped, and the last of several equal keys counts. Times are in UTC, Gap.Err is an orderbook.Cause, an empty
// side is nil, and Origin is zero. The error is a *CodecError, also for a record that is not valid (see
// marketprism.Record.Validate); r is then unchanged.
func DecodeRecord(data []byte, r *marketprism.Record) error {
	var d Decoder
	return d.Decode("", data, r)
}

// A Decoder decodes records without allocating, once it has grown: its memory holds all records decoded since the last
// Reset. The zero Decoder is ready to use. It is not safe for concurrent use.
type Decoder struct {
	// SkipLevels leaves the levels of an Update out, at a fraction of the time: enough for Record.Key, for the subject, and
	// for Publisher.WriteEncoded. It is for what AppendRecord has made: the levels are not checked.
	SkipLevels bool

	scan scan.Scanner
	body body

	kinds, exchanges, markets, symbols scan.Intern

	subject []byte // of the last record, without the prefix

	// A payload is appended to its slice. Growing the slice copies it; earlier records keep pointing to the old one.
	levels    []orderbook.Level
	updates   []orderbook.Update
	snapshots []orderbook.Snapshot
	gaps      []orderbook.Gap
	trades    []marketprism.Trade
	tickers   []marketprism.Ticker
}

// levelsKept bounds the levels that a Decoder holds memory for between two batches: 4 MiB.
const levelsKept = 1 << 18

// Reset frees the memory of all records decoded so far for reuse.
func (d *Decoder) Reset() {
	if cap(d.levels) > levelsKept {
		d.levels = nil
	}
	d.levels = d.levels[:0]
	d.updates, d.snapshots, d.gaps = d.updates[:0], d.snapshots[:0], d.gaps[:0]
	d.trades, d.tickers = d.trades[:0], d.tickers[:0]
}

// Decode is DecodeRecord for a message, whose subject must name the instrument and the kind of its record, with any
// prefix: otherwise the book of one instrument would get the updates of another. The error has the Kind "subject" then,
// and wraps ErrSubject. "" as subject means that any record will do.
//
// r points into the Decoder's memory, which is valid until the next Reset.
func (d *Decoder) Decode(subject string, data []byte, r *marketprism.Record) error {
	used := len(d.levels)
	err := d.read(data)
	var rec marketprism.Record
	if err == nil {
		rec = d.record()
		if invalid := rec.Validate(); invalid != nil {
			err = invalidError(opDecode, len(data), invalid)
		} else if !d.isSubject(subject, &rec) {
			err = &CodecError{Op: opDecode, Kind: "subject", Err: fmt.Errorf("%w of %v of %v, whose record it is", ErrSubject, rec.Kind(), rec.Instrument)}
		}
	}
	if err != nil {
		d.levels = d.levels[:used]
		return err
	}
	*r = rec
	return nil
}

// isSubject reports whether a record may be on a subject.
func (d *Decoder) isSubject(subject string, r *marketprism.Record) bool {
	if subject == "" {
		return true
	}
	d.subject = appendTokens(d.subject[:0], r.Instrument, r.Kind())
	n := len(subject) - len(d.subject)
	return n > 0 && subject[n:] == string(d.subject)
}

// record returns the record of d.body.
func (d *Decoder) record() marketprism.Record {
	b := &d.body
	r := marketprism.Record{Instrument: b.instrument, EventTime: b.times.event, ReceivedAt: b.times.received}
	switch b.kind {
	case marketprism.KindUpdate:
		r.Update = add(&d.updates, b.update())
	case marketprism.KindSnapshot:
		r.Snapshot = add(&d.snapshots, b.snapshot())
	case marketprism.KindGap:
		r.Gap = add(&d.gaps, b.gap())
	case marketprism.KindTrade, marketprism.KindAggTrade:
		r.Trade = add(&d.trades, b.trade())
	case marketprism.KindTicker:
		r.Ticker = add(&d.tickers, b.ticker())
	}
	return r
}

func add[T any](to *[]T, v T) *T {
	*to = append(*to, v)
	return &(*to)[len(*to)-1]
}

// read fills d.body.
func (d *Decoder) read(data []byte) error {
	s := &d.scan
	d.body = body{}
	s.Reset(data)
	s.Object()
	var failed string
	for name, ok := s.Key(); ok; name, ok = s.Key() {
		d.member(name)
		if s.Err() != nil {
			failed = knownKey(name)
			break
		}
	}
	s.ExpectEnd()
	if err := s.Err(); err != nil {
		return decodeError(failed, s.Offset(), err)
	}
	if missing := d.body.required() &^ d.body.seen; missing != 0 {
		return decodeError(keyOf(missing), len(data), errMissing)
	}
	if !d.body.checks() {
		return decodeError(keyChecksum, len(data), errChecksum)
	}
	return nil
}

// member reads the value of one key.
func (d *Decoder) member(name []byte) {
	s, b := &d.scan, &d.body
	switch string(name) {
	case keyVersion:
		d.version()
	case keyKind:
		d.kind()
	case keyExchange:
		b.instrument.Exchange = s.Interned(&d.exchanges)
		b.seen |= hasExchange
	case keyMarket:
		b.instrument.Market = marketprism.Market(s.Interned(&d.markets))
		b.seen |= hasMarket
	case keySymbol:
		b.instrument.Symbol = s.Interned(&d.symbols)
		b.seen |= hasSymbol
	case keyEventTime:
		b.times.event = d.time()
	case keyReceivedAt:
		b.times.received = d.time()
	case keyBookEventTime:
		b.times.book = d.bookEventTime()
		b.seen |= hasBookEventTime
	case keyTransactTime:
		b.times.transact = d.time()
	case keyTradeTime:
		b.times.trade = d.time()
		b.seen |= hasTradeTime
	case keyReason:
		d.reason()
	case keyErr:
		b.err = orderbook.Cause(s.String())
		b.seen |= hasErr
	case keyBuyerMaker:
		b.buyerMaker = s.Bool()
		b.seen |= hasBuyerMaker
	case keyBestMatch:
		b.bestMatch = s.Bool()
	default:
		d.numeric(name)
	}
}

// numeric reads the value of a key that is an id, a number or levels, and skips the value of any other key.
func (d *Decoder) numeric(name []byte) {
	s, b := &d.scan, &d.body
	switch string(name) {
	case keyFirstID:
		b.firstID = s.Int()
		b.seen |= hasFirstID
	case keyLastID:
		b.lastID = s.Int()
		b.seen |= hasLastID
	case keyPrevLastID:
		b.prevLastID = s.Int()
		b.seen |= hasPrevLastID
	case keyAfter:
		b.after = s.Int()
		b.seen |= hasAfter
	case keyID:
		b.id = s.Int()
		b.seen |= hasID
	case keyUpdateID:
		b.updateID = s.Int()
		b.seen |= hasUpdateID
	case keyPrice:
		b.price = s.Fixed()
		b.seen |= hasPrice
	case keyQuantity:
		b.quantity = s.Fixed()
		b.seen |= hasQuantity
	case keyBids:
		b.bids = d.side()
		b.seen |= hasBids
	case keyAsks:
		b.asks = d.side()
		b.seen |= hasAsks
	case keyBid:
		b.bid = d.level()
		b.seen |= hasBid
	case keyAsk:
		b.ask = d.level()
		b.seen |= hasAsk
	case keyBidBound:
		b.bidBound = orderbook.Bound{Price: s.Fixed(), Limited: true}
	case keyChecksum:
		b.checksum = s.Int()
		b.seen |= hasChecksum
	case keyAskBound:
		b.askBound = orderbook.Bound{Price: s.Fixed(), Limited: true}
	default:
		s.Skip()
	}
}

func (d *Decoder) version() {
	s := &d.scan
	s.Kind() // skips white space, so that the offset is the value's
	at := s.Offset()
	if v := s.Int(); v != codecVersion {
		s.Fail(at, errVersion)
	}
	d.body.seen |= hasVersion
}

func (d *Decoder) kind() {
	s := &d.scan
	at := s.Offset()
	kind, err := marketprism.ParseKind(s.Interned(&d.kinds))
	if err != nil {
		s.Fail(at, err)
	}
	d.body.kind = kind
	d.body.seen |= hasKind
}

func (d *Decoder) reason() {
	s := &d.scan
	at := s.Offset()
	reason, err := orderbook.ParseGapReason(s.Interned(&d.kinds))
	if err != nil {
		s.Fail(at, err)
	}
	d.body.reason = reason
	d.body.seen |= hasReason
}

// time reads nanoseconds since the epoch in quotes.
func (d *Decoder) time() time.Time {
	s := &d.scan
	at := s.Offset()
	return d.parseTime(at, s.String())
}

// bookEventTime is time, or "" for the zero Time.
func (d *Decoder) bookEventTime() time.Time {
	s := &d.scan
	at := s.Offset()
	text := s.String()
	if len(text) == 0 {
		return time.Time{}
	}
	return d.parseTime(at, text)
}

func (d *Decoder) parseTime(at int, text []byte) time.Time {
	if d.scan.Err() != nil {
		return time.Time{}
	}
	nanos, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		d.scan.Fail(at, errTime)
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// side reads the levels of one side into the Decoder's memory.
func (d *Decoder) side() []orderbook.Level {
	s := &d.scan
	if d.SkipLevels && d.body.kind == marketprism.KindUpdate {
		s.SkipLevels()
		return nil
	}
	start := len(d.levels)
	s.Array()
	for s.Next() {
		l, ok := s.ShortLevel()
		if !ok {
			l = d.level()
		}
		d.levels = append(d.levels, l)
	}
	if len(d.levels) == start {
		return nil
	}
	return d.levels[start:len(d.levels):len(d.levels)]
}

// level reads a price and a quantity.
func (d *Decoder) level() (l orderbook.Level) {
	s := &d.scan
	s.Array()
	n := 0
	for s.Next() {
		switch n++; n {
		case 1:
			l.Price = s.Fixed()
		case 2:
			l.Quantity = s.Quantity()
		default:
			s.Skip()
		}
	}
	if n < 2 {
		s.Fail(s.Offset(), errValue)
	}
	return l
}
