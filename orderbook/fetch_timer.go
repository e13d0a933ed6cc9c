package orderbook

import "time"

// A fetchTimer decides when to request a snapshot: one request at a time, two never closer than
// RetryMin, a growing delay after failures, and a timeout for each answer.
type fetchTimer struct {
	cfg SyncerConfig

	last     FetchID   // the latest number given out
	out      FetchID   // the request without an answer; 0 if none
	asked    time.Time // when the latest request was sent
	due      time.Time // when to send the next; zero if none is wanted
	failures int       // requests in a row that gave no usable snapshot
	doubtful bool      // the snapshot of the request that is out may be older than a loss
}

// want schedules a request at the earliest time allowed, unless one is out or scheduled.
func (f *fetchTimer) want(now time.Time) {
	if f.out != 0 || !f.due.IsZero() {
		return
	}
	f.due = now
	if earliest := f.asked.Add(f.cfg.RetryMin); !f.asked.IsZero() && now.Before(earliest) {
		f.due = earliest
	}
}

// retry schedules the request after one that failed.
func (f *fetchTimer) retry(now time.Time) {
	delay := f.cfg.RetryMin
	for range f.failures {
		delay = min(2*delay, f.cfg.RetryMax)
		if delay == f.cfg.RetryMax {
			break
		}
	}
	f.failures++
	f.due = now.Add(delay)
}

// doubt notes that updates were lost. A snapshot requested earlier may lack them, and no id would
// show it: the book of a quiet symbol would stay wrong.
func (f *fetchTimer) doubt() { f.doubtful = f.out != 0 }

// answered reports whether id is the request that is out, and ends that request.
func (f *fetchTimer) answered(id FetchID) bool {
	if id == 0 || id != f.out {
		return false
	}
	f.out = 0
	return true
}

func (f *fetchTimer) succeeded() { f.failures, f.due = 0, time.Time{} }

func (f *fetchTimer) stop() { f.out, f.due, f.failures = 0, time.Time{}, 0 }

// expired reports whether the request that is out has timed out, and ends it if so.
func (f *fetchTimer) expired(now time.Time) bool {
	if f.out == 0 || f.cfg.SnapshotTimeout <= 0 || now.Before(f.asked.Add(f.cfg.SnapshotTimeout)) {
		return false
	}
	f.out = 0
	return true
}

// start returns the request to send now, 0 if none is due.
func (f *fetchTimer) start(now time.Time) FetchID {
	if f.due.IsZero() || now.Before(f.due) {
		return 0
	}
	f.last++
	f.out, f.asked, f.due, f.doubtful = f.last, now, time.Time{}, false
	return f.out
}

// deadline returns when expired or start has something to do; zero if never.
func (f *fetchTimer) deadline() time.Time {
	if f.out != 0 && f.cfg.SnapshotTimeout > 0 {
		return f.asked.Add(f.cfg.SnapshotTimeout)
	}
	return f.due
}

// earliest returns the earlier of two times; a zero time means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
