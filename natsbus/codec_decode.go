package natsbus

import (
	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/scan"
	"github.com/marketprism/marketprism/orderbook"
)

// DecodeRecord reads the body of a message into r, whose memory it does not use. Keys may come in any
// order and unknown ones are skipped; of a key that comes twice the last counts. Times are in UTC,
// Gap.Err is an orderbook.Cause, an empty side is nil, and Origin is zero. After an error, which is a
// *CodecError, r is as it was.
func DecodeRecord(data []byte, r *marketprism.Record) error {
	var d Decoder
	return d.Decode(data, r)
}

// A Decoder decodes records without allocating, once it has grown: all records decoded since the
// last Reset lie in its memory. The zero Decoder is ready to use. It is not safe for concurrent use.
type Decoder struct {
	scan scan.Scanner
	body body

	kinds, exchanges, markets, symbols scan.Intern

	// A payload is appended to its slice. Growing one copies it, and leaves what records point to
	// already where it is.
	levels    []orderbook.Level
	updates   []orderbook.Update
	snapshots []orderbook.Snapshot
	gaps      []orderbook.Gap
	trades    []marketprism.Trade
	tickers   []marketprism.Ticker
}

// levelsKept bounds the levels that a Decoder holds memory for between two batches: 4 MiB.
const levelsKept = 1 << 18

// Reset gives the memory of all records decoded so far free to be used again.
func (d *Decoder) Reset() {
	if cap(d.levels) > levelsKept {
		d.levels = nil
	}
	d.levels = d.levels[:0]
	d.updates, d.snapshots, d.gaps = d.updates[:0], d.snapshots[:0], d.gaps[:0]
	d.trades, d.tickers = d.trades[:0], d.tickers[:0]
}

// Decode is DecodeRecord into the Decoder's memory, which r points to until the next Reset.
func (d *Decoder) Decode(data []byte, r *marketprism.Record) error {
	used := len(d.levels)
	if err := d.read(data); err != nil {
		d.levels = d.levels[:used]
		return err
	}
	b := &d.body
	*r = marketprism.Record{Instrument: b.instrument, EventTime: b.eventTime, ReceivedAt: b.receivedAt}
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
	return nil
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
	s.End()
	if err := s.Err(); err != nil {
		return &CodecError{Op: opDecode, Key: failed, Offset: s.Offset(), Err: err}
	}
	if missing := required(d.body.kind) &^ d.body.seen; missing != 0 {
		return &CodecError{Op: opDecode, Key: keyOf(missing), Offset: len(data), Err: ErrMissing}
	}
	if !d.body.checks() {
		return &CodecError{Op: opDecode, Key: keyChecksum, Offset: len(data), Err: ErrChecksum}
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
		b.eventTime = d.time()
	case keyReceivedAt:
		b.receivedAt = d.time()
	case keyBookEventTime:
		b.bookEventTime = d.bookEventTime()
		b.seen |= hasBookEventTime
	case keyTransactTime:
		b.transactTime = d.time()
	case keyTradeTime:
		b.tradeTime = d.time()
	case keyReason:
		d.reason()
	case keyErr:
		b.err = orderbook.Cause(s.String())
		b.seen |= hasErr
	case keyBuyerMaker:
		b.buyerMaker = s.Bool()
	case keyBestMatch:
		b.bestMatch = s.Bool()
	default:
		d.numeric(name)
	}
}

// numeric reads the value of a key that is an id, a number or levels, and skips any other.
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
