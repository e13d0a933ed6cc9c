package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/check"
)

// A Liveness is how long ago a service was heard of, by its own measure.
type Liveness uint8

const (
	// Alive: its beats come in time.
	Alive Liveness = iota + 1
	// Late: none has come for twice its interval.
	Late
	// Gone: none has come for four times its interval, or it has said that it ends.
	Gone
)

// String returns the liveness's name.
func (l Liveness) String() string {
	switch l {
	case Alive:
		return "alive"
	case Late:
		return "late"
	case Gone:
		return "gone"
	}
	return "unknown"
}

// Intervals without a beat after which a service is late, and gone.
const (
	lateAfter = 2
	goneAfter = 4
)

// A Peer is a service that a Watch has heard of.
type Peer struct {
	Beat     // its last
	Liveness Liveness
	Heard    time.Time // local clock, when the last beat came
}

// ErrTooManyPeers is why a Watch leaves out a service.
var ErrTooManyPeers = errors.New("natsbus: too many services")

// A WatchConfig says what a Watch hears and tells. The zero value hears all services.
type WatchConfig struct {
	Prefix  string // of market data; "" means DefaultPrefix
	Service string // "" means all

	// MaxPeers bounds the services known at a time; those beyond are left out, with ErrTooManyPeers. 0
	// means 10,000.
	MaxPeers int

	// Changed is told of a service that is heard of for the first time, that is late or gone, or alive
	// again. Refused is told of a message that is no beat, and of a stream of heartbeats that cannot be
	// read. Both may be nil, are called on the goroutine
	// of Run after Peers has changed, and must not block.
	Changed func(Peer)
	Refused func(subject string, err error)
}

// A Watch hears the beats of services and knows which are alive. It begins with the last beat of each
// that the stream of heartbeats holds, see HeartbeatsStream; without that stream it learns of each one
// with its next beat. Its methods are safe for concurrent use.
//
// It goes by when beats arrive, by the local clock: how the clocks of services are set does not matter.
// While the connection of the Watch is away every service becomes late and then gone.
type Watch struct {
	cfg WatchConfig
	nc  *nats.Conn

	mu    sync.Mutex
	peers peers
}

// NewWatch returns a Watch on a connection that the caller opens and closes. It fails if cfg is
// contradictory.
func NewWatch(nc *nats.Conn, cfg WatchConfig) (*Watch, error) {
	defaults.Set(&cfg.Prefix, DefaultPrefix)
	defaults.Set(&cfg.MaxPeers, 10_000)
	if err := check.Prefix(cfg.Prefix); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSubject, err)
	}
	if !check.IsName(cfg.Service) || cfg.MaxPeers < 0 {
		return nil, fmt.Errorf("natsbus: Service %q, MaxPeers %d: want letters, digits, '-' and '_', and a bound", cfg.Service, cfg.MaxPeers)
	}
	return &Watch{cfg: cfg, nc: nc, peers: peers{max: cfg.MaxPeers}}, nil
}

// Peers returns the services that are alive or late, in no particular order.
func (w *Watch) Peers() []Peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.peers.all()
}

// watchQueue is how many beats may wait for Run; the connection's error handler hears of those beyond.
const watchQueue = 4096

// Run listens until ctx ends, whose cause it then returns; at once with an error if it cannot
// subscribe. It is for one goroutine.
func (w *Watch) Run(ctx context.Context) error {
	service := w.cfg.Service
	defaults.Set(&service, "*")
	subject := beatSubject(w.cfg.Prefix, service, "*")
	beats := make(chan *nats.Msg, watchQueue)
	sub, err := w.nc.ChanSubscribe(subject, beats)
	if err != nil {
		return fmt.Errorf("natsbus: subscribe to %s: %w", subject, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // it fails only where there is nothing left to end
	w.readStored(ctx, subject)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case msg := <-beats:
			if !w.hear(msg, 0) { // it only puts the deadline of its service off
				continue
			}
		case <-timer.C:
			for range len(beats) { // nobody is late whose beat waits here
				w.hear(<-beats, 0)
			}
			w.expire()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if next, ok := w.deadline(); ok {
			timer.Reset(time.Until(next))
		}
	}
}

// hear takes a message of some age, and tells whether it is news. One so old that its service is gone is
// none.
func (w *Watch) hear(msg *nats.Msg, age time.Duration) (changed bool) {
	var b Beat
	err := json.Unmarshal(msg.Data, &b)
	if err == nil && msg.Subject != beatSubject(w.cfg.Prefix, b.Service, b.Instance) {
		err = fmt.Errorf("natsbus: a beat of %s.%s", b.Service, b.Instance)
	}
	if err == nil && age > 0 && age >= goneAfter*b.Every {
		return false
	}
	var p Peer
	if err == nil {
		w.mu.Lock()
		p, changed, err = w.peers.hear(time.Now().Add(-age), b)
		w.mu.Unlock()
	}
	if err != nil {
		if w.cfg.Refused != nil {
			w.cfg.Refused(msg.Subject, err)
		}
		return false
	}
	if changed {
		hook.Call(w.cfg.Changed, p)
	}
	return changed
}

func (w *Watch) expire() {
	w.mu.Lock()
	changed := w.peers.expire(time.Now())
	w.mu.Unlock()
	for _, p := range changed {
		hook.Call(w.cfg.Changed, p)
	}
}

func (w *Watch) deadline() (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.peers.deadline()
}
