package orderbook

import "time"

// A fetchTimer decides when to ask for a snapshot: at most one request is out at a time, two are
// never closer than RetryMin, failures back off, and no answer is waited for beyond the timeout.
type fetchTimer struct {
	cfg SyncerConfig

	last     FetchID   // the number given out last
	out      FetchID   // the request that is out; 0 if none
	asked    time.Time // when it, or the one before, went out
	due      time.Time // when the next one is to go out; zero if none is wanted
	failures int       // requests in a row that gave no usable snapshot
	doubtful bool      // the answer to the request that is out may be older than a loss
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

// doubt notes that updates were lost. A snapshot asked for before may not contain them, and no id
// would show it: a quiet symbol would stay behind unnoticed.
func (f *fetchTimer) doubt() { f.doubtful = f.out != 0 }

// answered tells whether id is the request that is out, which then is no longer.
func (f *fetchTimer) answered(id FetchID) bool {
	if id == 0 || id != f.out {
		return false
	}
	f.out = 0
	return true
}

func (f *fetchTimer) succeeded() { f.failures, f.due = 0, time.Time{} }

func (f *fetchTimer) stop() { f.out, f.due, f.failures = 0, time.Time{}, 0 }

// expired gives up the request that is out if its time is over, and tells whether it was.
func (f *fetchTimer) expired(now time.Time) bool {
	if f.out == 0 || f.cfg.SnapshotTimeout <= 0 || now.Before(f.asked.Add(f.cfg.SnapshotTimeout)) {
		return false
	}
	f.out = 0
	return true
}

// take returns the request to send now, 0 if none.
func (f *fetchTimer) take(now time.Time) FetchID {
	if f.due.IsZero() || now.Before(f.due) {
		return 0
	}
	f.last++
	f.out, f.asked, f.due, f.doubtful = f.last, now, time.Time{}, false
	return f.out
}

// deadline returns when take or expired will have something to do.
func (f *fetchTimer) deadline() time.Time {
	if f.out != 0 && f.cfg.SnapshotTimeout > 0 {
		return f.asked.Add(f.cfg.SnapshotTimeout)
	}
	return f.due
}

// earliest returns the earlier of two times, of which a zero one is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
