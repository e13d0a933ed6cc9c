package binance

import (
	"errors"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// ErrSchema is of an SBE message that belongs to a schema of which this package knows nothing.
var ErrSchema = errors.New("message of an unknown schema")

// sbeSchema is the id of the schema of the market data streams (sbe/schemas/stream_1_0.xml).
const sbeSchema = 1

// A template is the kind of an SBE message.
type template uint16

const (
	templateTrades    template = 10000
	templateBestPrice template = 10001 // bestBidAsk
	templateDepthDiff template = 10003
)

// isSBE tells a binary message from JSON. Its second byte is the high one of the length of its root block, of
// which none is longer than 50 bytes; JSON has no byte below 9.
func isSBE(frame []byte) bool { return len(frame) > 1 && frame[1] < '\t' }

// sbe reads one message of the SBE streams (sbe-market-data-streams.md). A newer minor version of the schema may
// have longer blocks, so they are passed over by the length on the wire; a template that is not known is no error.
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
		version = 1 // whatever follows
	}
	if version == 0 && r.err == nil && r.at != len(frame) {
		r.fail(ErrMalformed)
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
// the trades, id 0, price 8, qty 16, isBuyerMaker 24; symbol. Every one is a best match: a constant of the schema.
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
			ID: number(entry), Price: r.fixed(entry[8:], price), Quantity: r.positive(entry[16:], quantity),
			BuyerMaker: entry[24] == 1, BestMatch: true, TradeTime: at,
		}
		if entry[24] > 1 {
			r.fail(ErrType)
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
		Bid:      orderbook.Level{Price: r.fixed(root[18:], price), Quantity: r.positive(root[26:], quantity)},
		Ask:      orderbook.Level{Price: r.fixed(root[34:], price), Quantity: r.positive(root[42:], quantity)},
	}
	d.sbeSymbol(r, m, templateBestPrice)
	m.Type = MessageTicker
}

// sbeNames are a symbol and the names of its streams, which messages do not carry.
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

// sbeSymbol reads the symbol, which is the last that a message has, and so tells the stream.
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

// sbeStream returns the name of the stream that a message is of without reading it; "" if it does not tell.
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

// maxKnown bounds the symbols whose names are kept.
const maxKnown = 1 << 16
