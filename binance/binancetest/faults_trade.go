package binancetest

// tradeCopies is how often the next execution is told: 1, unless a fault says 0 or 2.
func (f *symbolFaults) tradeCopies() int {
	switch {
	case f.dropTrades > 0:
		f.dropTrades--
		return 0
	case f.duplicateTrades > 0:
		f.duplicateTrades--
		return 2
	}
	return 1
}

// DropTrades keeps the next n executions of a symbol from the trade and aggTrade streams. REST has them.
// The error is ErrUnknownSymbol.
func (s *Server) DropTrades(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.dropTrades = n })
}

// DuplicateTrades sends the next n executions of a symbol twice on the trade and aggTrade streams. The
// error is ErrUnknownSymbol.
func (s *Server) DuplicateTrades(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.duplicateTrades = n })
}

// SkipTradeIDs uses up n trade ids without a trade, as executions of the futures' insurance fund do: no
// stream and no answer ever has them. The error is ErrUnknownSymbol.
func (s *Server) SkipTradeIDs(symbol string, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(y *symbolState) { y.tradeID += int64(n) })
}

// BreakAggregate puts an aggregate that has lost its trades into the history of a symbol: the next
// aggregate id, price and quantity "0", and first and last trade id -1. Some of the exchange's history
// is like that. The error is ErrUnknownSymbol.
func (s *Server) BreakAggregate(symbol string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(y *symbolState) {
		y.aggTradeID++
		y.tape.add(execution{id: noTrade, aggregate: y.aggTradeID, millis: s.now().UnixMilli()})
	})
}
