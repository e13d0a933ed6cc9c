package binancetest

import "time"

// staleBy is how many borders back the next snapshot is taken.
func (f *symbolFaults) staleBy() int {
	if f.stale <= 0 {
		return 0
	}
	f.stale--
	return f.staleBorders
}

// midBatch tells whether the next snapshot shows the book as it is.
func (f *symbolFaults) midBatch() bool {
	if f.midBatches <= 0 {
		return false
	}
	f.midBatches--
	return true
}

// afterSnapshot arms what waits for a snapshot.
func (f *symbolFaults) afterSnapshot() {
	if f.dropAtSnapshot > 0 {
		f.dropDepth, f.dropAtSnapshot = f.dropAtSnapshot, 0
	}
}

// StaleSnapshots makes the next n snapshots of a symbol show the book as it was the given number of
// borders before the last, as the exchange does when REST lags behind the streams. It goes back no
// further than Config.History. The error is ErrUnknownSymbol.
func (s *Server) StaleSnapshots(symbol string, n, borders int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.stale, f.staleBorders = n, borders })
}

// MidBatchSnapshots is Config.MidBatchSnapshots for the next n snapshots of a symbol. The error is
// ErrUnknownSymbol.
func (s *Server) MidBatchSnapshots(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.midBatches = n })
}

// DelaySnapshots holds back the answers to the next n depth requests. Each shows the book as it was
// when the request came.
func (s *Server) DelaySnapshots(n int, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.slow, s.faults.delay = n, delay
}

// DelaySnapshotsFor is DelaySnapshots for the requests of one symbol. The error is ErrUnknownSymbol.
func (s *Server) DelaySnapshotsFor(symbol string, n int, delay time.Duration) error {
	return s.fault(symbol, func(f *symbolFaults) { f.rest.slow, f.rest.delay = n, delay })
}

func (f *requestFaults) snapshotDelay() time.Duration {
	if f.slow <= 0 {
		return 0
	}
	f.slow--
	return f.delay
}
