package natsbus

import (
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A body holds the values of a message until all keys are read, and with them the kind of record.
type body struct {
	seen       present
	kind       marketprism.Kind
	instrument marketprism.Instrument

	times bodyTimes

	firstID, lastID, prevLastID int64
	after, id, updateID         int64

	reason orderbook.GapReason
	err    orderbook.Cause

	price, quantity       orderbook.Fixed
	buyerMaker, bestMatch bool
	bids, asks            []orderbook.Level
	bid, ask              orderbook.Level
	bidBound, askBound    orderbook.Bound
	checksum              int64
}

type bodyTimes struct{ event, received, book, transact, trade time.Time }

// present is a set of keys.
type present uint32

const (
	hasVersion present = 1 << iota
	hasKind
	hasExchange
	hasMarket
	hasSymbol
	hasFirstID
	hasLastID
	hasAfter
	hasReason
	hasID
	hasUpdateID
	hasPrice
	hasQuantity
	hasBids
	hasAsks
	hasBid
	hasAsk

	hasBookEventTime
	hasErr
	hasChecksum
)

// required returns the keys that a record of that kind must have.
func required(kind marketprism.Kind) present {
	const every = hasVersion | hasKind | hasExchange | hasMarket | hasSymbol
	switch kind {
	case marketprism.KindUpdate:
		return every | hasFirstID | hasLastID | hasBids | hasAsks
	case marketprism.KindSnapshot:
		return every | hasLastID | hasBids | hasAsks
	case marketprism.KindGap:
		return every | hasAfter | hasReason
	case marketprism.KindTrade, marketprism.KindAggTrade:
		return every | hasID | hasPrice | hasQuantity
	case marketprism.KindTicker:
		return every | hasUpdateID | hasBid | hasAsk
	}
	return every
}

// keyOf returns the first key of a set, in the order of the constants.
func keyOf(set present) string {
	for i, key := range [...]string{
		keyVersion, keyKind, keyExchange, keyMarket, keySymbol, keyFirstID, keyLastID, keyAfter, keyReason,
		keyID, keyUpdateID, keyPrice, keyQuantity, keyBids, keyAsks, keyBid, keyAsk,
	} {
		if set&(1<<i) != 0 {
			return key
		}
	}
	return ""
}

// ownTime returns the time of the update or snapshot itself.
func (b *body) ownTime() time.Time {
	if b.seen&hasBookEventTime != 0 {
		return b.times.book
	}
	return b.times.event
}

func (b *body) update() orderbook.Update {
	return orderbook.Update{
		FirstID: b.firstID, LastID: b.lastID, PrevLastID: b.prevLastID,
		EventTime: b.ownTime(), TransactTime: b.times.transact,
		Bids: b.bids, Asks: b.asks,
	}
}

func (b *body) snapshot() orderbook.Snapshot {
	return orderbook.Snapshot{
		LastID:    b.lastID,
		EventTime: b.ownTime(), TransactTime: b.times.transact,
		Bids: b.bids, Asks: b.asks, BidBound: b.bidBound, AskBound: b.askBound,
	}
}

// checks reports whether a snapshot is the one that its publisher had in memory. A publisher may send no checksum.
func (b *body) checks() bool {
	if b.kind != marketprism.KindSnapshot || b.seen&hasChecksum == 0 {
		return true
	}
	snap := b.snapshot()
	return b.checksum == int64(snap.Checksum())
}

func (b *body) gap() orderbook.Gap {
	g := orderbook.Gap{After: b.after, Reason: b.reason}
	if b.seen&hasErr != 0 {
		g.Err = b.err
	}
	return g
}

func (b *body) trade() marketprism.Trade {
	return marketprism.Trade{
		ID: b.id, Aggregate: b.kind == marketprism.KindAggTrade, FirstID: b.firstID, LastID: b.lastID,
		Price: b.price, Quantity: b.quantity, BuyerMaker: b.buyerMaker, BestMatch: b.bestMatch, TradeTime: b.times.trade,
	}
}

func (b *body) ticker() marketprism.Ticker {
	return marketprism.Ticker{UpdateID: b.updateID, TransactTime: b.times.transact, Bid: b.bid, Ask: b.ask}
}
