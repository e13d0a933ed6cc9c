package dayfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A stored record begins with its kind and a byte of flags for what is set; numbers are varints, times nanoseconds since
// 1970, and prices the differences to the price before.
const (
	hasEventTime = 1 << iota
	hasReceivedAt
	hasTransactTime // of the payload: TransactTime, or TradeTime
	hasBuyerMaker
	hasBestMatch
	hasBidBound
	hasAskBound
)

// An entry is a record in the log.
type entry struct {
	record marketprism.Record
	local  int64 // effective local clock in ns
	seq    int64 // position among the records of its instrument; 0 in the log, which does not count them
}

// appendEntry appends e to b, without its instrument.
func appendEntry(b []byte, e *entry) []byte {
	r := &e.record
	flags, transact := flagsOf(r)
	b = append(b, byte(r.Kind()), flags)
	b = binary.AppendVarint(b, e.local)
	b = binary.AppendUvarint(b, uint64(e.seq))
	if flags&hasEventTime != 0 {
		b = binary.AppendVarint(b, r.EventTime.UnixNano()-e.local)
	}
	if flags&hasReceivedAt != 0 {
		b = binary.AppendVarint(b, r.ReceivedAt.UnixNano()-e.local)
	}
	if flags&hasTransactTime != 0 {
		b = binary.AppendVarint(b, transact.UnixNano()-e.local)
	}
	switch {
	case r.Update != nil:
		u := r.Update
		b = binary.AppendVarint(b, u.FirstID)
		b = binary.AppendVarint(b, u.LastID-u.FirstID)
		b = binary.AppendVarint(b, u.PrevLastID)
		b = appendLevels(b, u.Bids)
		b = appendLevels(b, u.Asks)
	case r.Snapshot != nil:
		s := r.Snapshot
		b = binary.AppendVarint(b, s.LastID)
		b = appendLevels(b, s.Bids)
		b = appendLevels(b, s.Asks)
		if flags&hasBidBound != 0 {
			b = binary.AppendVarint(b, int64(s.BidBound.Price))
		}
		if flags&hasAskBound != 0 {
			b = binary.AppendVarint(b, int64(s.AskBound.Price))
		}
	case r.Gap != nil:
		b = binary.AppendVarint(b, r.Gap.After)
		b = append(b, byte(r.Gap.Reason))
		cause := ""
		if r.Gap.Err != nil {
			cause = r.Gap.Err.Error()
		}
		b = binary.AppendUvarint(b, uint64(len(cause)))
		b = append(b, cause...)
	case r.Trade != nil:
		t := r.Trade
		for _, n := range [...]int64{t.ID, t.FirstID, t.LastID, int64(t.Price), int64(t.Quantity)} {
			b = binary.AppendVarint(b, n)
		}
	case r.Ticker != nil:
		t := r.Ticker
		for _, n := range [...]int64{t.UpdateID, int64(t.Bid.Price), int64(t.Bid.Quantity), int64(t.Ask.Price), int64(t.Ask.Quantity)} {
			b = binary.AppendVarint(b, n)
		}
	}
	return b
}

// appendInstrument appends an instrument to b.
func appendInstrument(b []byte, in marketprism.Instrument) []byte {
	for _, s := range [...]string{in.Exchange, string(in.Market), in.Symbol} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// flagsOf returns what is set in r, and the clock of the matching engine.
func flagsOf(r *marketprism.Record) (flags byte, transact time.Time) {
	switch {
	case r.Update != nil:
		transact = r.Update.TransactTime
	case r.Snapshot != nil:
		transact = r.Snapshot.TransactTime
		if r.Snapshot.BidBound.Limited {
			flags |= hasBidBound
		}
		if r.Snapshot.AskBound.Limited {
			flags |= hasAskBound
		}
	case r.Trade != nil:
		transact = r.Trade.TradeTime
		if r.Trade.BuyerMaker {
			flags |= hasBuyerMaker
		}
		if r.Trade.BestMatch {
			flags |= hasBestMatch
		}
	case r.Ticker != nil:
		transact = r.Ticker.TransactTime
	}
	if !transact.IsZero() {
		flags |= hasTransactTime
	}
	if !r.EventTime.IsZero() {
		flags |= hasEventTime
	}
	if !r.ReceivedAt.IsZero() {
		flags |= hasReceivedAt
	}
	return flags, transact
}

func appendLevels(b []byte, levels []orderbook.Level) []byte {
	b = binary.AppendUvarint(b, uint64(len(levels)))
	var last orderbook.Fixed
	for _, l := range levels {
		b = binary.AppendVarint(b, int64(l.Price-last))
		b = binary.AppendUvarint(b, uint64(l.Quantity))
		last = l.Price
	}
	return b
}

var errEntry = errors.New("malformed record")

// A decoder reads entries. What it returns is valid until its next call.
type decoder struct {
	data []byte
	bad  bool

	update   orderbook.Update
	snapshot orderbook.Snapshot
	gap      orderbook.Gap
	trade    marketprism.Trade
	ticker   marketprism.Ticker
}

// entry reads the next entry of an instrument. The error is errEntry.
func (d *decoder) entry(e *entry, instrument marketprism.Instrument) error {
	kind, flags := marketprism.Kind(d.byte()), d.byte()
	*e = entry{record: marketprism.Record{Instrument: instrument}, local: d.varint(), seq: int64(d.uvarint())}
	r := &e.record
	if flags&hasEventTime != 0 {
		r.EventTime = d.time(e.local)
	}
	if flags&hasReceivedAt != 0 {
		r.ReceivedAt = d.time(e.local)
	}
	var transact time.Time
	if flags&hasTransactTime != 0 {
		transact = d.time(e.local)
	}
	switch kind {
	case marketprism.KindUpdate:
		u := &d.update
		u.EventTime, u.TransactTime = r.EventTime, transact
		u.FirstID = d.varint()
		u.LastID = u.FirstID + d.varint()
		u.PrevLastID = d.varint()
		u.Bids, u.Asks = d.levels(u.Bids[:0]), d.levels(u.Asks[:0])
		r.Update = u
	case marketprism.KindSnapshot:
		s := &d.snapshot
		s.EventTime, s.TransactTime = r.EventTime, transact
		s.LastID = d.varint()
		s.Bids, s.Asks = d.levels(s.Bids[:0]), d.levels(s.Asks[:0])
		s.BidBound, s.AskBound = d.bound(flags&hasBidBound != 0), d.bound(flags&hasAskBound != 0)
		r.Snapshot = s
	case marketprism.KindGap:
		d.gap = orderbook.Gap{After: d.varint(), Reason: orderbook.GapReason(d.byte())}
		if cause := d.text(); cause != "" {
			d.gap.Err = orderbook.Cause(cause)
		}
		r.Gap = &d.gap
	case marketprism.KindTrade, marketprism.KindAggTrade:
		d.trade = marketprism.Trade{
			Aggregate: kind == marketprism.KindAggTrade, TradeTime: transact,
			BuyerMaker: flags&hasBuyerMaker != 0, BestMatch: flags&hasBestMatch != 0,
			ID: d.varint(), FirstID: d.varint(), LastID: d.varint(),
			Price: orderbook.Fixed(d.varint()), Quantity: orderbook.Fixed(d.varint()),
		}
		r.Trade = &d.trade
	case marketprism.KindTicker:
		d.ticker = marketprism.Ticker{UpdateID: d.varint(), TransactTime: transact, Bid: d.level(), Ask: d.level()}
		r.Ticker = &d.ticker
	default:
		d.bad = true
	}
	if d.bad {
		return fmt.Errorf("dayfile: %w", errEntry)
	}
	return nil
}

func (d *decoder) instrument() marketprism.Instrument {
	return marketprism.Instrument{Exchange: d.text(), Market: marketprism.Market(d.text()), Symbol: d.text()}
}

func (d *decoder) byte() byte {
	if len(d.data) == 0 {
		d.bad = true
		return 0
	}
	c := d.data[0]
	d.data = d.data[1:]
	return c
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.data)
	d.skip(n)
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	d.skip(n)
	return v
}

func (d *decoder) skip(n int) {
	if n <= 0 {
		d.bad, d.data = true, nil
		return
	}
	d.data = d.data[n:]
}

func (d *decoder) time(local int64) time.Time { return time.Unix(0, local+d.varint()).UTC() }

func (d *decoder) text() string {
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		d.bad = true
		return ""
	}
	s := string(d.data[:n])
	d.data = d.data[n:]
	return s
}

func (d *decoder) level() orderbook.Level {
	return orderbook.Level{Price: orderbook.Fixed(d.varint()), Quantity: orderbook.Fixed(d.varint())}
}

func (d *decoder) bound(limited bool) orderbook.Bound {
	if !limited {
		return orderbook.Bound{}
	}
	return orderbook.Bound{Price: orderbook.Fixed(d.varint()), Limited: true}
}

func (d *decoder) levels(levels []orderbook.Level) []orderbook.Level {
	n := d.uvarint()
	if n > uint64(len(d.data)) { // a level takes two bytes or more
		d.bad = true
		return levels
	}
	var price orderbook.Fixed
	for range n {
		price += orderbook.Fixed(d.varint())
		levels = append(levels, orderbook.Level{Price: price, Quantity: orderbook.Fixed(d.uvarint())})
	}
	return levels
}
