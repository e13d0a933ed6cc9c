package chstore

import (
	"errors"
	"math"
	"time"
)

// ErrTime is the cause in a *RecordError for a time that a DateTime64(9) cannot hold: before 1970 or
// after 2262-04-11.
var ErrTime = errors.New("time is before 1970 or after 2262-04-11")

// lastTime is the last time whose nanoseconds since 1970 fit an int64.
var lastTime = time.Unix(0, math.MaxInt64)

// storable reports whether a time can be stored: the zero Time can, as 0.
func storable(t time.Time) bool {
	return t.IsZero() || t.Unix() >= 0 && !t.After(lastTime)
}

// nanos returns nanoseconds since 1970, 0 for the zero Time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// fromNanos is the inverse of nanos: 0 becomes the zero Time. The location is UTC.
func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
