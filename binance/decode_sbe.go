package binance

import (
	"encoding/binary"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/scan"
	"github.com/marketprism/marketprism/orderbook"
)

// sbeSchema is the id of the schema of the market data streams (sbe/schemas/stream_1_0.xml).
const sbeSchema = 1

// A template is the kind of an SBE message.
type template uint16

const (
	templateTrades    template = 10000
	templateBestPrice template = 10001 // bestBidAsk
	templateDepthDiff template = 10003
)

// isSBE reports whether a frame is a binary message rather than JSON. The second byte of a binary one is the high
// byte of the length of its root block, which is at most 50; JSON has no byte below 9.
func isSBE(frame []byte) bool { return len(frame) > 1 && frame[1] < '\t' }

// sbe reads one message of the SBE streams (sbe-market-data-streams.md). A newer minor version of the schema may
// have longer blocks, so their length is taken from the wire. An unknown template is no error.
func (d *Decoder) sbe(frame []byte, m *Message) error {
	r := sbeReader{data: frame}
	kind, root, version := r.header()
	switch kind {
	case templateDepthDiff:
		d.sbeDepth(&r, root, m)
	case templateTrades:
		d.sbeTrades(&r, root, m)
	case templateBestPrice:
		d.sbeTicker(&r, root, m)
	default:
		version = 1 // the rest of the frame is not checked
	}
	m.Capped = r.capped
	if version == 0 && r.err == nil && r.at != len(frame) {
		r.fail(scan.ErrMalformed)
	}
	if r.err != nil {
		m.Type = MessageUnknown
		return newDecodeError(m.Stream, frame, r.at, r.err)
	}
	return nil
}

// sbeDepth reads a DepthDiffStreamEvent: eventTime 0, firstBookUpdateId 8, lastBookUpdateId 16, priceExponent 24,
// qtyExponent 25; bids, asks; symbol.
func (d *Decoder) sbeDepth(r *sbeReader, root []byte, m *Message) {
	u := &m.Update
	u.PrevLastID, u.TransactTime = 0, time.Time{}
	if !r.want(root, 26) {
		return
	}
	m.EventTime = r.time(root)
	u.EventTime, u.FirstID, u.LastID = m.EventTime, number(root[8:]), number(root[16:])
	price, quantity := scaleOf(root[24]), scaleOf(root[25])
	u.Bids = r.levels(u.Bids[:0], price, quantity)
	u.Asks = r.levels(u.Asks[:0], price, quantity)
	d.sbeSymbol(r, m, templateDepthDiff)
	m.Type = MessageDepth
}

// sbeTrades reads a TradesStreamEvent: eventTime 0, transactTime 8, priceExponent 16, qtyExponent 17; the group of
// trades, id 0, price 8, qty 16, isBuyerMaker 24; symbol. isBestMatch is a constant of the schema: true.
func (d *Decoder) sbeTrades(r *sbeReader, root []byte, m *Message) {
	m.TradeType = ""
	if !r.want(root, 18) {
		return
	}
	m.EventTime = r.time(root)
	at := r.time(root[8:])
	price, quantity := scaleOf(root[16]), scaleOf(root[17])
	size, n := r.group(25, 4)
	for i := range n {
		entry := r.take(size)
		if r.err != nil {
			return
		}
		t := marketprism.Trade{
			ID: number(entry), Price: r.fixed(entry[8:], price), Quantity: r.fixed(entry[16:], quantity),
			BuyerMaker: entry[24] == 1, BestMatch: true, TradeTime: at,
		}
		if entry[24] > 1 {
			r.fail(scan.ErrType)
		}
		if i == 0 {
			m.Trade = t
		} else {
			m.More = append(m.More, t)
		}
	}
	d.sbeSymbol(r, m, templateTrades)
	if n > 0 {
		m.Type = MessageTrade
	}
}

// sbeTicker reads a BestBidAskStreamEvent: eventTime 0, bookUpdateId 8, priceExponent 16, qtyExponent 17, bidPrice
// 18, bidQty 26, askPrice 34, askQty 42; symbol.
func (d *Decoder) sbeTicker(r *sbeReader, root []byte, m *Message) {
	if !r.want(root, 50) {
		return
	}
	m.EventTime = r.time(root)
	price, quantity := scaleOf(root[16]), scaleOf(root[17])
	m.Ticker = marketprism.Ticker{
		UpdateID: number(root[8:]),
		Bid:      orderbook.Level{Price: r.fixed(root[18:], price), Quantity: r.quantity(root[26:], quantity)},
		Ask:      orderbook.Level{Price: r.fixed(root[34:], price), Quantity: r.quantity(root[42:], quantity)},
	}
	d.sbeSymbol(r, m, templateBestPrice)
	m.Type = MessageTicker
}

// sbeNames holds a symbol and the names of its streams, which SBE messages do not carry.
type sbeNames struct{ symbol, depth, trade, ticker string }

func (n *sbeNames) stream(kind template) string {
	switch kind {
	case templateDepthDiff:
		return n.depth
	case templateTrades:
		return n.trade
	}
	return n.ticker
}

// sbeSymbol reads the symbol, the last field of a message, and derives the stream name from it.
func (d *Decoder) sbeSymbol(r *sbeReader, m *Message, kind template) {
	text := r.text()
	if r.err != nil {
		return
	}
	n := d.sbeKnown[string(text)]
	if n == nil {
		symbol := string(text)
		n = &sbeNames{
			symbol: symbol, depth: StreamName(symbol, sbeDepthSuffix), trade: StreamName(symbol, tradeSuffix), ticker: StreamName(symbol, sbeTickerSuffix),
		}
		if d.sbeKnown == nil || len(d.sbeKnown) >= maxKnown {
			d.sbeKnown = make(map[string]*sbeNames)
		}
		d.sbeKnown[symbol] = n
	}
	m.Symbol, m.Stream = n.symbol, n.stream(kind)
}

// sbeStream returns the stream name of a message without decoding the rest; "" if it cannot be determined.
func sbeStream(frame []byte) string {
	r := sbeReader{data: frame}
	kind, _, _ := r.header()
	groups := map[template][]int{templateTrades: {4}, templateBestPrice: nil, templateDepthDiff: {2, 2}}
	counts, known := groups[kind]
	for _, countBytes := range counts {
		size, n := r.group(1, countBytes)
		r.take(size * n)
	}
	symbol := string(r.text())
	switch {
	case !known || r.err != nil:
		return ""
	case kind == templateDepthDiff:
		return StreamName(symbol, sbeDepthSuffix)
	case kind == templateTrades:
		return StreamName(symbol, tradeSuffix)
	}
	return StreamName(symbol, sbeTickerSuffix)
}

// maxKnown bounds Decoder.sbeKnown.
const maxKnown = 1 << 16

// sbeHeader is the length of the header of every message: blockLength, templateId, schemaId, version.
const sbeHeader = 8

// An sbeReader reads a message from front to back. It keeps the first error and returns zero values after it.
type sbeReader struct {
	data []byte
	at   int
	err  error

	capped int // quantities of levels that were orderbook.MaxFixed
}

func (r *sbeReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// take returns the next n bytes.
func (r *sbeReader) take(n int) []byte {
	if r.err != nil || n > len(r.data)-r.at {
		r.fail(scan.ErrTruncated)
		return nil
	}
	r.at += n
	return r.data[r.at-n : r.at]
}

func (r *sbeReader) header() (kind template, root []byte, version uint16) {
	h := r.take(sbeHeader)
	if r.err != nil {
		return 0, nil, 0
	}
	if binary.LittleEndian.Uint16(h[4:]) != sbeSchema {
		r.fail(errSchema)
		return 0, nil, 0
	}
	root = r.take(int(binary.LittleEndian.Uint16(h)))
	return template(binary.LittleEndian.Uint16(h[2:])), root, binary.LittleEndian.Uint16(h[6:])
}

// want fails unless a block has at least n bytes, the length in this package's version of the schema.
func (r *sbeReader) want(block []byte, n int) bool {
	if r.err == nil && len(block) < n {
		r.fail(errMissingField)
	}
	return r.err == nil
}

// group reads the head of a group, whose count has countBytes bytes: 4 for trades, 2 for levels. It returns the size
// of an entry, at least want bytes, and the number of entries, all of which are in the message.
func (r *sbeReader) group(want, countBytes int) (size, n int) {
	h := r.take(2 + countBytes)
	if r.err != nil {
		return 0, 0
	}
	size, n = int(binary.LittleEndian.Uint16(h)), int(binary.LittleEndian.Uint16(h[2:]))
	if countBytes == 4 {
		n = int(binary.LittleEndian.Uint32(h[2:]))
	}
	switch {
	case size < want:
		r.fail(errMissingField)
	case n > (len(r.data)-r.at)/size:
		r.fail(scan.ErrTruncated)
	default:
		return size, n
	}
	return 0, 0
}

// levels appends a group of levels: price 0, qty 8.
func (r *sbeReader) levels(dst []orderbook.Level, price, quantity scale) []orderbook.Level {
	size, n := r.group(16, 2)
	body := r.take(size * n)
	dst = slices.Grow(dst, n)
	if !price.unit() || !quantity.unit() {
		for ; len(body) > 0; body = body[size:] {
			dst = append(dst, orderbook.Level{Price: r.fixed(body, price), Quantity: r.quantity(body[8:], quantity)})
		}
		return dst
	}
	var signs int64 // negative if any number is
	for ; len(body) > 0; body = body[size:] {
		l := orderbook.Level{Price: orderbook.Fixed(number(body)), Quantity: orderbook.Fixed(number(body[8:]))}
		signs |= int64(l.Price | l.Quantity)
		if l.Quantity == orderbook.MaxFixed {
			r.capped++
		}
		dst = append(dst, l)
	}
	if signs < 0 {
		r.fail(orderbook.ErrRange)
	}
	return dst
}

// text reads a varString8, which must not be empty.
func (r *sbeReader) text() []byte {
	n := r.take(1)
	if r.err != nil {
		return nil
	}
	text := r.take(int(n[0]))
	if r.err == nil && (len(text) == 0 || !utf8.Valid(text)) {
		r.fail(scan.ErrMalformed)
	}
	return text
}

// time reads microseconds since 1970.
func (r *sbeReader) time(b []byte) time.Time {
	t := number(b)
	if t < 0 || t > maxMicros {
		r.fail(orderbook.ErrRange)
		return time.Time{}
	}
	return time.UnixMicro(t).UTC()
}

// fixed reads a price or the quantity of a trade.
func (r *sbeReader) fixed(b []byte, s scale) orderbook.Fixed {
	v, err := s.fixed(number(b))
	if err == nil && v < 0 {
		err = orderbook.ErrRange
	}
	if err != nil {
		r.fail(err)
	}
	return v
}

// quantity reads the quantity of a level, as orderbook.ParseQuantity does.
func (r *sbeReader) quantity(b []byte, s scale) orderbook.Fixed {
	mantissa := number(b)
	v, err := s.fixed(mantissa)
	switch {
	case err == orderbook.ErrRange && mantissa > 0:
		v, err = orderbook.MaxFixed, nil
	case err == nil && v < 0:
		err = orderbook.ErrRange
	}
	if err != nil {
		r.fail(err)
	}
	if v == orderbook.MaxFixed {
		r.capped++
	}
	return v
}

func number(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }

// A scale turns a mantissa into a Fixed: it is multiplied by up and divided by down, one of which is 1.
// Exponents belong to a message, not to a symbol.
type scale struct{ up, down int64 }

// unit reports whether a mantissa is a Fixed already.
func (s scale) unit() bool { return s == scale{1, 1} }

// scaleOf returns the scale of an exponent of ten. A Fixed has the exponent -8.
func scaleOf(exponent byte) scale {
	shift := int(int8(exponent)) + 8
	const most = 18 // digits after the first of an int64
	switch {
	case shift > most:
		return scale{0, 1} // only 0 fits
	case shift < -most:
		return scale{1, 0}
	}
	s := scale{1, 1}
	for ; shift > 0; shift-- {
		s.up *= 10
	}
	for ; shift < 0; shift++ {
		s.down *= 10
	}
	return s
}

func (s scale) fixed(mantissa int64) (orderbook.Fixed, error) {
	switch {
	case s.unit(), mantissa == 0:
		return orderbook.Fixed(mantissa), nil
	case s.up == 0:
		return 0, orderbook.ErrRange
	case s.down == 0 || mantissa%s.down != 0:
		return 0, orderbook.ErrPrecision
	}
	v := mantissa / s.down * s.up
	if v/s.up != mantissa/s.down {
		return 0, orderbook.ErrRange
	}
	return orderbook.Fixed(v), nil
}
