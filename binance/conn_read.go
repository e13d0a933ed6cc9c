package binance

import (
	"context"
	"time"
)

const (
	// pongMargin is how long before the exchange would close a connection for a late pong its frames are
	// dropped so that the ping behind them is reached.
	pongMargin = 10 * time.Second

	// dropTime is within how much time all streams of a connection are given up, one by one, if the books
	// stay behind. It is less than pongMargin.
	dropTime = 5 * time.Second

	// caughtUp is how long the reader must not have waited until the dropped streams start over.
	caughtUp = 2 * time.Second
)

// A connReader reads the frames of a connection into its queue.
//
// When the queue is full the reader waits, and the socket and the exchange hold what follows. Pings are in
// the same stream of bytes, behind frames that are not read: the reader may be so far behind the exchange
// that it answers each ping pongMargin before its time is over. Beyond, it gives up the stream of the frame
// that finds no room, then another one, dropTime divided by the number of streams later, until it is not so
// far behind any more. Frames of these streams are dropped until the reader has caught up.
//
// How much the exchange holds for a slow reader before it ends the connection is not documented, so it may
// end it earlier.
type connReader struct {
	stream   *Stream
	queue    *frameQueue
	streamOf func(frame []byte) *subscription // nil if it is not known
	streams  func() int                       // how many there are
	count    *counters
	maxLag   time.Duration
	dropping map[*subscription]uint64 // the streams given up, and how many of their frames are not reported yet
	waited   time.Time                // when the reader last waited
	dropAt   time.Time                // when the next one may be given up; zero if the reader is not too far behind
}

// run reads until the connection ends.
func (r *connReader) run(ctx context.Context) {
	r.maxLag = r.stream.market.pongTimeout - pongMargin
	r.dropping = make(map[*subscription]uint64)
	for {
		data, at, err := r.stream.Read(r.queue.space())
		if err != nil {
			r.report(true)
			r.queue.close(err)
			return
		}
		r.count.frames.Add(1)
		r.count.bytes.Add(uint64(len(data)))
		if len(r.dropping) > 0 && r.drop(data, at) {
			continue
		}
		if !r.queue.push(data, at, false) {
			r.wait(ctx, data, at)
		}
	}
}

// drop drops a frame of a stream that was given up, and reports whether it was one. If the reader has caught
// up, no stream is given up any more.
func (r *connReader) drop(data []byte, at time.Time) bool {
	if at.Sub(r.waited) >= caughtUp && r.queue.hasRoom() {
		r.report(false)
		clear(r.dropping)
		r.dropAt = time.Time{}
		return false
	}
	sub := r.streamOf(data)
	if _, given := r.dropping[sub]; !given {
		return false
	}
	r.dropping[sub]++
	r.count.dropped.Add(1)
	return true
}

// report passes on how many frames of the streams given up were dropped; more says that they stay given up.
func (r *connReader) report(more bool) {
	for sub, frames := range r.dropping {
		r.queue.drop(sub, frames, more)
	}
}

// wait queues a frame when there is room, or drops it with its stream when pings must be reached. At the end
// of ctx it gives up: the next Read fails.
func (r *connReader) wait(ctx context.Context, data []byte, at time.Time) {
	r.count.waits.Add(1)
	r.stream.hold()
	defer func() {
		r.stream.resume()
		r.waited = time.Now()
	}()
	late := at.Add(r.maxLag - r.stream.lag(data, at)) // when pings behind the frame must be reached
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !r.queue.push(data, at, false) {
		select {
		case <-r.queue.room:
			continue
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		switch {
		case now.Before(late):
			r.dropAt = time.Time{}
		case r.dropAt.IsZero():
			r.dropAt = now.Add(r.dropPace())
		case !now.Before(r.dropAt):
			r.dropAt = now.Add(r.dropPace())
			r.giveUp(data, at)
			return
		}
		timer.Reset(later(late, r.dropAt).Sub(now))
	}
}

// dropPace is the time between two streams that are given up.
func (r *connReader) dropPace() time.Duration {
	return dropTime / time.Duration(max(1, r.streams()))
}

// giveUp drops a frame, and those of its stream that follow. Frames that are not of a stream, such as
// acknowledgements, get a reserve of the queue; what does not fit is a loss for every stream.
func (r *connReader) giveUp(data []byte, at time.Time) {
	sub := r.streamOf(data)
	if sub == nil && r.queue.push(data, at, true) {
		return
	}
	r.count.dropped.Add(1)
	if sub != nil {
		r.dropping[sub] = 0
	}
	r.queue.drop(sub, 1, sub != nil)
}
