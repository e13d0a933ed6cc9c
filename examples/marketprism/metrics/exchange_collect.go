package metrics

import (
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

// collect emits the current values of the market's Client and DepthSyncer, or zeros before Observe.
func (e *Exchange) collect(give emit) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.collectConnections(give)

	var usage binance.Usage
	if e.client != nil {
		usage = e.client.Usage()
	}
	give(RestUsedWeight, float64(usage.Used), e.venue...)
	give(RestWeightLimit, float64(usage.Limit), e.venue...)
	for p, name := range restPriorities {
		waiting := 0
		if p < len(usage.Queued) {
			waiting = usage.Queued[p]
		}
		give(RestQueue, float64(waiting), e.with(name)...)
	}
	give(RestBlockedUntil, unix(usage.BlockedUntil), e.venue...)

	var stats binance.Stats
	if e.books != nil {
		stats = e.books.Stats()
	}
	e.collectStats(give, stats)
	e.collectBooks(give)
	give(Updates, float64(e.sums.Applied), e.with("applied")...)
	give(Updates, float64(e.sums.Dropped), e.with("old")...)
	give(Updates, float64(e.sums.Discarded), e.with("discarded")...)
}

// with returns the label values of the market followed by more.
func (e *Exchange) with(more ...string) []string { return append(e.venue[:2:2], more...) }

func (e *Exchange) collectConnections(give emit) {
	connected, backoff, closed := e.conns.count()
	give(ConnectionStatus, truth(connected > 0 && backoff == 0), e.venue...)
	give(Connections, float64(connected), e.with("connected")...)
	give(Connections, float64(backoff), e.with("backoff")...)
	give(Connections, float64(closed), e.with("closed")...)
}

func (e *Exchange) collectStats(give emit, s binance.Stats) {
	events := s.DepthEvents + s.TradeEvents + s.TickerEvents
	give(MessagesReceived, float64(s.DepthEvents), e.with("depth")...)
	give(MessagesReceived, float64(s.TradeEvents), e.with("trade")...)
	give(MessagesReceived, float64(s.TickerEvents), e.with("ticker")...)
	// The counters are read one after the other, and frames may wait in the queue.
	control := s.Frames - min(s.Frames, events+s.Dropped+s.Undecoded+uint64(s.Queued))
	e.previous.Frames = max(e.previous.Frames, control)
	give(MessagesReceived, float64(e.previous.Frames), e.with("control")...)
	give(ReceivedBytes, float64(s.Bytes), e.venue...)
	give(DroppedMessages, float64(s.Dropped), e.with("queue_full")...)
	give(DroppedMessages, float64(s.Unknown), e.with("unknown_symbol")...)
	give(LastMessage, unix(s.LastEvent), e.venue...)
	give(QueueLength, float64(s.Queued), e.venue...)
	give(QueueCapacity, float64(s.QueueFrames), e.venue...)
	give(QueueWaits, float64(s.QueueWaits), e.venue...)
	give(Pauses, float64(s.Pauses), e.venue...)
	give(Gaps, float64(s.Gaps), e.venue...)
	give(CrossedBooks, float64(s.Mismatches), e.venue...)
	give(AuditDifferences, float64(s.Differences), e.venue...)
	give(CappedLevels, float64(s.Capped), e.venue...)
	give(RefusedNames, float64(s.Refused), e.venue...)
	give(LeftOutNames, float64(s.Unread), e.with("invalid")...)
	give(LeftOutNames, float64(s.LeftOut), e.with("limit")...)
}

// collectBooks emits the states of all books, and the series of the symbols that have some.
func (e *Exchange) collectBooks(give emit) {
	states := make(map[string]int, len(bookStates))
	var symbols []string
	if e.books != nil {
		symbols = e.books.Symbols()
	}
	shown, limited := e.m.cfg.Symbols.shown(symbols)
	if limited && e.m.cfg.Symbols.Limited != nil {
		e.limitedOnce.Do(func() { e.m.cfg.Symbols.Limited(len(symbols)) })
	}
	buffered := 0
	next := 0 // of shown, which is in the order of symbols
	for _, s := range symbols {
		status, ok := e.books.Status(s)
		if !ok {
			continue // removed just now
		}
		states[stateName(status)]++
		buffered += status.Sync.Buffered
		e.sum(s, status.Sync)
		if next < len(shown) && shown[next] == s {
			next++
			e.collectSymbol(give, s, status)
		}
	}
	for _, state := range bookStates {
		give(Books, float64(states[state]), e.with(state)...)
	}
	give(BufferedUpdates, float64(buffered), e.venue...)
	e.collectChosen(give, e.m.cfg.Symbols.chosen(symbols))
}

func stateName(s binance.Status) string {
	switch {
	case s.State == orderbook.Synced:
		return "live"
	case s.State == orderbook.Buffering:
		return "buffering"
	case s.UpdatedAt.IsZero():
		return "init"
	}
	return "stale"
}

// sum adds what a book has counted since the last scrape, so that the sums never fall when a symbol is
// removed.
func (e *Exchange) sum(symbol string, now orderbook.SyncerStats) {
	before := e.counted[symbol]
	if now.Received < before.Received {
		before = orderbook.SyncerStats{} // it was removed and added again
	}
	e.counted[symbol] = now
	e.sums.Applied += now.Applied - before.Applied
	e.sums.Dropped += now.Dropped - before.Dropped
	e.sums.Discarded += now.Discarded - before.Discarded
}

func (e *Exchange) collectSymbol(give emit, symbol string, s binance.Status) {
	labels := e.with(symbol)
	give(BookSynced, truth(s.State == orderbook.Synced), labels...)
	give(BookLastUpdate, unix(s.UpdatedAt), labels...)
	give(BookUpdates, float64(s.Sync.Applied), labels...)
	give(BookGaps, float64(s.Sync.Gaps), labels...)
}

// collectChosen emits prices and depth of chosen symbols whose books are known, and their volumes.
func (e *Exchange) collectChosen(give emit, chosen []string) {
	e.followVolumes(chosen)
	for _, symbol := range chosen {
		// A book that is not synced has no price.
		_ = e.books.View(symbol, func(b *orderbook.Book, _ binance.Status) { e.collectPrices(give, symbol, b) })
	}
}

func (e *Exchange) collectPrices(give emit, symbol string, b *orderbook.Book) {
	mid, ok := b.Mid()
	spread, two := b.Spread()
	if !ok || !two || mid <= 0 {
		return
	}
	give(BookMid, mid, e.with(symbol)...)
	give(BookSpread, spread.Float64()/mid, e.with(symbol)...)
	for _, side := range []struct {
		name  string
		side  orderbook.Side
		limit float64
	}{{"bid", orderbook.Bid, mid * 0.999}, {"ask", orderbook.Ask, mid * 1.001}} {
		if quantity, exact := b.DepthTo(side.side, orderbook.Fixed(side.limit*float64(orderbook.One))); exact {
			give(BookDepth, quantity.Float64()*mid, e.with(symbol, side.name)...)
		}
	}
}

// followVolumes has the trades of these symbols counted from now on.
func (e *Exchange) followVolumes(chosen []string) {
	if before := e.volumes.Load(); before != nil && sameKeys(*before, chosen) {
		return
	}
	volumes := make(map[string]*number, len(chosen))
	for _, symbol := range chosen {
		volumes[symbol] = e.m.number(TradesVolume, e.with(symbol)...)
	}
	e.volumes.Store(&volumes)
}

func sameKeys(m map[string]*number, keys []string) bool {
	for _, key := range keys {
		if m[key] == nil {
			return false
		}
	}
	return len(m) == len(keys)
}
