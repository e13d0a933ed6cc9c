package binancetest

// symbolFaults are the faults waiting for one symbol.
type symbolFaults struct {
	dropDepth, duplicateDepth, swapDepth, holdDepth int // events
	dropAtSnapshot                                  int // events after the next snapshot

	stale, staleBorders int // snapshots, and how old
	midBatches          int // snapshots

	dropTrades, duplicateTrades int // executions

	rest requestFaults
}

// onDepth tells whether a fault waits for the next depth event.
func (f *symbolFaults) onDepth() bool {
	return f.dropDepth > 0 || f.duplicateDepth > 0 || f.swapDepth > 0 || f.holdDepth > 0
}

// depthCopies is how often the next depth event is sent: 1, unless a fault says 0 or 2.
func (f *symbolFaults) depthCopies() int {
	switch {
	case f.dropDepth > 0:
		f.dropDepth--
		return 0
	case f.duplicateDepth > 0:
		f.duplicateDepth--
		return 2
	}
	return 1
}

// depthEvents is what goes out in place of the next event of a batch.
func (f *symbolFaults) depthEvents(b *batch, e payload) []payload {
	switch copies := f.depthCopies(); {
	case copies == 0:
		return nil
	case copies == 2:
		return append(b.release(), e, e)
	case f.holdDepth > 0 && !b.reversed:
		f.holdDepth--
		b.held = append(b.held, e)
		return nil
	case f.swapDepth > 0 && len(b.held) == 0:
		f.swapDepth--
		b.held, b.reversed = append(b.held, e), true
		return nil
	case b.reversed:
		return append([]payload{e}, b.release()...)
	}
	return append(b.release(), e)
}

// release returns the events that were kept back, in their order.
func (b *batch) release() []payload {
	held := b.held
	b.held, b.reversed = nil, false
	return held
}

// DropDepth loses the next n depth events of a symbol that somebody would have got, for all its
// subscribers: the ids are used up, so that the event after them shows a gap. The error is
// ErrUnknownSymbol.
func (s *Server) DropDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.dropDepth = n })
}

// DropDepthAtSnapshot is DropDepth from the next snapshot of the symbol on: the events lost are those
// that follow the snapshot. The error is ErrUnknownSymbol.
func (s *Server) DropDepthAtSnapshot(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.dropAtSnapshot = n })
}

// DuplicateDepth sends the next n depth events of a symbol twice. The error is ErrUnknownSymbol.
func (s *Server) DuplicateDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.duplicateDepth = n })
}

// SwapDepth sends each of the next n depth events of a symbol behind the one that follows it. It does
// nothing on a playback. The error is ErrUnknownSymbol.
func (s *Server) SwapDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.swapDepth = n })
}

// HoldDepth keeps the next n depth events of a symbol back. They go out in order ahead of the one that
// comes then, or with Calm; a snapshot meanwhile is newer than all that was sent. It does nothing on a
// playback. The error is ErrUnknownSymbol.
func (s *Server) HoldDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.holdDepth = n })
}

func (s *Server) fault(symbol string, f func(*symbolFaults)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(y *symbolState) { f(&y.faults) })
}

// Calm ends every fault: what waits for an event, a request or a connection is forgotten, what was
// switched on is switched off, depth events kept back go out, the clock is right again, and a RunChaos
// that is under way takes back what it changed and returns. It does not bring back what is lost, nor a
// connection that Silence has made half-open.
func (s *Server) Calm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.restorers {
		r.undo()
	}
	s.restorers = nil
	for _, y := range s.symbols {
		y.faults = symbolFaults{}
		for i := range y.batches {
			b := &y.batches[i]
			for _, e := range b.release() {
				s.sendEvent(y, b, e)
			}
		}
	}
	for _, c := range s.conns {
		c.skipPings = 0
	}
	s.faults, s.wire, s.commands = restFaults{}, wireFaults{}, commandFaults{}
	s.encode.third, s.encode.sbe = false, sbeStyle{}
	close(s.calm)
	s.calm = make(chan struct{})
}
