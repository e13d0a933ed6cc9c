package binancetest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/marketprism/marketprism/internal/recording"
	"github.com/marketprism/marketprism/orderbook"
)

// A Playback replays a recording of the real exchange: a file of one JSON object a line, plain or
// compressed with gzip or zstd,
//
//	{"ts":NANOS,"kind":"rest","path":"/api/v3/depth?symbol=X&limit=1000","body":{…}}
//	{"ts":NANOS,"kind":"ws","frame":{"stream":…,"data":{…}}}
//
// in the order of capture. Frames are sent verbatim and in that order to the subscribers of their stream,
// without the wrapper on plain connections. The first depth request of a symbol waits until the replay
// reaches a recorded snapshot of it and gets that; later ones get the next recorded snapshot once it is
// reached, and otherwise the true book, which the server maintains from the recorded snapshots and events.
// The symbols with a recorded snapshot are listed.
//
// The replay begins when every stream of WaitFor has a subscriber, and pauses while the next frame's stream
// is one of these and has none, so that a client that reconnects loses only the frames in transit.
type Playback struct {
	Path string // of the file

	// Speed is a factor: 1 replays at the recorded speed. 0 means as fast as the clients read.
	Speed float64

	// WaitFor are the types of the streams to wait for: "depth" means every recorded <symbol>@depth and
	// <symbol>@depth@100ms. Nil means "depth".
	WaitFor []string
}

const (
	replayAhead = 64      // queued frames of a client at which the replay waits, as it does when half of its buffer is full
	maxEarly    = 100_000 // depth events of a symbol kept until its first snapshot
)

// A replay runs a Playback.
type replay struct {
	server *Server
	cfg    Playback
	waits  map[string]bool // streams that must have a subscriber

	// Guarded by the Server's mutex.
	books map[string]*recordedBook
	err   error // that ended it early
}

// A recordedBook is the recorded data of one symbol.
type recordedBook struct {
	left    int             // snapshots not reached yet
	newest  json.RawMessage // the last one reached, until a client gets it
	reached chan struct{}   // closed and replaced at each one
	early   []orderbook.Update
}

// run plays the recording to its end, or until the server is closed.
func (p *replay) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	streams := make([]string, 0, len(p.waits))
	for name := range p.waits {
		streams = append(streams, name)
	}
	err := p.server.Subscribed(ctx, streams...)
	if err == nil {
		err = p.play(ctx)
	}
	if errors.Is(err, ErrClosed) {
		return
	}
	p.server.mu.Lock()
	p.err = err
	p.server.mu.Unlock()
	close(p.server.played)
}

func (p *replay) play(ctx context.Context) error {
	r, err := recording.Open(p.cfg.Path)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read
	pace := replayClock{speed: p.cfg.Speed}
	for {
		l, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.wait(pace.until(l.ReceivedAt)); err != nil {
			return err
		}
		if l.Kind == recording.REST {
			err = p.reach(&l)
		} else {
			err = p.send(ctx, &l, &pace)
		}
		if err != nil {
			return err
		}
	}
}

func (p *replay) wait(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-p.server.done:
		return ErrClosed
	}
}

// A replayClock maps recorded times to the times to replay them at.
type replayClock struct {
	speed         float64 // 0 means no waiting
	first, origin time.Time
}

// until returns how long to wait before replaying what was recorded at t.
func (p *replayClock) until(t time.Time) time.Duration {
	if p.speed <= 0 {
		return 0
	}
	if p.first.IsZero() {
		p.first, p.origin = t, time.Now()
	}
	return time.Until(p.origin.Add(time.Duration(float64(t.Sub(p.first)) / p.speed)))
}

// reach makes a recorded snapshot available, and loads it into the true book if that is not synced.
func (p *replay) reach(l *recording.Line) error {
	name, ok := l.DepthSymbol()
	if !ok {
		return nil
	}
	snap, err := decodeSnapshot(l.Body)
	if err != nil {
		return err
	}
	s := p.server
	s.mu.Lock()
	defer s.mu.Unlock()
	sym, b := s.byName[name], p.books[name]
	if !sym.synced {
		sym.book.load(snap.Bids, snap.Asks)
		sym.startAt(snap.LastID)
		sym.synced = true
		early := b.early
		b.early = nil
		for i := range early {
			p.advance(sym, b, &early[i])
		}
	}
	b.left--
	b.newest = l.Body
	close(b.reached)
	b.reached = make(chan struct{})
	return nil
}

// send sends a recorded frame to the subscribers of its stream.
func (p *replay) send(ctx context.Context, l *recording.Line, pace *replayClock) error {
	stream, data, err := l.Stream()
	if err != nil {
		return err
	}
	if p.waits[stream] {
		before := time.Now()
		if err := p.server.Subscribed(ctx, stream); err != nil {
			return err
		}
		pace.origin = pace.origin.Add(time.Since(before))
	}
	var u *orderbook.Update
	name, kind := splitStream(stream)
	if kind == "depth" {
		if u, err = decodeUpdate(data); err != nil {
			return err
		}
	}
	for _, c := range p.deliver(stream, l.Frame, data, p.server.byName[upper(name)], u) {
		c.out.drained(replayAhead)
	}
	select {
	case <-p.server.done:
		return ErrClosed
	default:
		return nil
	}
}

// deliver queues a frame for its subscribers, which it returns, and applies its update, if any, to the true
// book. sym is nil for a symbol that is not listed.
func (p *replay) deliver(stream string, whole, data []byte, sym *symbolState, u *orderbook.Update) []*conn {
	s := p.server
	s.mu.Lock()
	defer s.mu.Unlock()
	to := append([]*conn(nil), s.subscribers[stream]...)
	copies := 1
	if u != nil && sym != nil && p.books[sym.Name] != nil {
		p.advance(sym, p.books[sym.Name], u)
		if len(to) > 0 {
			copies = sym.faults.depthCopies()
		}
	}
	for range copies {
		for _, c := range to {
			if c.combined {
				c.push(frame{data: whole})
			} else {
				c.push(frame{data: data})
			}
		}
	}
	return to
}

// advance applies a recorded depth event to the true book. After an event that does not follow, the book is
// not synced until the recording's next snapshot.
func (p *replay) advance(sym *symbolState, b *recordedBook, u *orderbook.Update) {
	follows := u.FirstID <= sym.id+1
	if !p.server.rules.contiguous {
		follows = u.PrevLastID <= sym.id
	}
	switch {
	case sym.synced && u.LastID <= sym.id:
		return
	case sym.synced && !follows:
		sym.synced = false
		fallthrough
	case !sym.synced:
		if len(b.early) == maxEarly {
			b.early = b.early[1:]
		}
		b.early = append(b.early, *u)
		return
	}
	changes := make([]change, 0, len(u.Bids)+len(u.Asks))
	for _, l := range u.Bids {
		changes = append(changes, change{place{bid, l.Price}, l.Quantity})
	}
	for _, l := range u.Asks {
		changes = append(changes, change{place{ask, l.Price}, l.Quantity})
	}
	sym.change(u.LastID, time.Now(), true, changes...)
	for i := range sym.batches {
		sym.cut(i, p.server.cfg.History)
	}
}

// snapshot returns the recorded answer to a depth request. Without one, hold is closed when the next is
// reached; if both are nil the true book is the answer.
func (p *replay) snapshot(sym *symbolState, limit int) (body []byte, hold <-chan struct{}) {
	b := p.books[sym.Name]
	switch {
	case b == nil:
		return nil, nil
	case b.newest != nil:
		body, b.newest = b.newest, nil
		return cutSnapshot(body, limit), nil
	case !sym.synced && b.left > 0:
		return nil, b.reached
	}
	return nil, nil
}
