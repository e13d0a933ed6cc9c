package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// Stream returns the default name of the stream of heartbeats: MD_HEARTBEAT for the prefix "md".
func Stream(prefix string) string { return check.StreamName(prefix, "_HEARTBEAT") }

// A WatchConfig says which services a Watch hears. The zero value hears all.
type WatchConfig struct {
	Prefix  string // of market data; "" means natsbus.DefaultPrefix
	Service string // "" means all

	// MaxPeers bounds the services known at a time; those beyond are refused with ErrTooManyPeers. 0 means 10,000.
	MaxPeers int

	// Changed is called with a service when it is heard for the first time, is late or gone, or alive again.
	// Refused is called with a message that is no beat, or after a failure to read the stream of heartbeats. Both
	// may be nil; they are called on the goroutine of Run, after Peers has changed, and must not block.
	Changed func(Peer)
	Refused func(subject string, err error)
}

// A Watch hears the beats of services and knows which are alive. It begins with the last beat of each service in the
// stream of heartbeats, see Stream; without that stream it learns of a service with the next beat. Its
// methods are safe for concurrent use.
//
// It measures when beats arrive, by the local clock; the clocks of the services do not matter. While the connection of
// the Watch is away, every service becomes late and then gone.
type Watch struct {
	cfg WatchConfig
	nc  *nats.Conn

	mu    sync.Mutex
	peers peers
}

// NewWatch returns a Watch on a connection that the caller opens and closes. It fails if cfg is contradictory.
func NewWatch(nc *nats.Conn, cfg WatchConfig) (*Watch, error) {
	defaults.Set(&cfg.Prefix, natsbus.DefaultPrefix)
	defaults.Set(&cfg.MaxPeers, 10_000)
	if err := check.Prefix(cfg.Prefix); err != nil {
		return nil, fmt.Errorf("presence: %w", err)
	}
	if !check.IsName(cfg.Service) || cfg.MaxPeers < 0 {
		return nil, fmt.Errorf("presence: Service %q, MaxPeers %d: want letters, digits, '-' and '_', and a bound", cfg.Service, cfg.MaxPeers)
	}
	return &Watch{cfg: cfg, nc: nc, peers: peers{max: cfg.MaxPeers}}, nil
}

// Peers returns the services that are alive or late, in no particular order.
func (w *Watch) Peers() []Peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.peers.all()
}

// watchQueue is how many beats may wait for Run; the connection drops those beyond and reports a slow consumer.
const watchQueue = 4096

// Run listens to beats. It blocks until ctx ends, and then returns nil; it returns an error at once if it cannot
// subscribe. It must not be called concurrently.
func (w *Watch) Run(ctx context.Context) error {
	service := w.cfg.Service
	defaults.Set(&service, "*")
	subject := beatSubject(w.cfg.Prefix, service, "*")
	beats := make(chan *nats.Msg, watchQueue)
	sub, err := w.nc.ChanSubscribe(subject, beats)
	if err != nil {
		return fmt.Errorf("presence: subscribe to %s: %w", subject, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only where the subscription has ended
	w.hearStored(ctx, subject)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case msg := <-beats:
			if !w.hear(msg, 0) { // no deadline comes earlier
				continue
			}
		case <-timer.C:
			for range len(beats) { // a service with a beat in the queue is not late
				w.hear(<-beats, 0)
			}
			w.expire()
		case <-ctx.Done():
			return nil
		}
		if next, ok := w.deadline(); ok {
			timer.Reset(time.Until(next))
		}
	}
}

// hear applies a message of some age, and reports whether it changed a service. It ignores a beat so old that its
// service is gone.
func (w *Watch) hear(msg *nats.Msg, age time.Duration) (changed bool) {
	var b Beat
	err := json.Unmarshal(msg.Data, &b)
	if err == nil && msg.Subject != beatSubject(w.cfg.Prefix, b.Service, b.Instance) {
		err = fmt.Errorf("presence: a beat of %s.%s", b.Service, b.Instance)
	}
	if err == nil {
		err = checkTexts(&b)
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

const (
	storedBatch   = 500
	storedTimeout = 5 * time.Second // for all stored beats
)

// hearStored applies the last beat of every service in the stream of heartbeats, so that a Watch need not wait for the
// next. A server without that stream is no failure.
func (w *Watch) hearStored(ctx context.Context, subject string) {
	ctx, cancel := context.WithTimeout(ctx, storedTimeout)
	defer cancel()
	stream := Stream(w.cfg.Prefix)
	err := w.readStored(ctx, stream, subject)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) && !errors.Is(err, jetstream.ErrJetStreamNotEnabled) &&
		!errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) && ctx.Err() == nil && w.cfg.Refused != nil {
		w.cfg.Refused(subject, fmt.Errorf("presence: last beats in stream %s: %w", stream, err))
	}
}

// readStored applies the beats in a stream. Their age is by the server's clock.
func (w *Watch) readStored(ctx context.Context, name, subject string) error {
	js, err := jetstream.New(w.nc)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Description: pull.Description("reads the last beats for a watch of services"), Metadata: pull.Metadata("presence-watch"),
		FilterSubject: subject, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: 2 * storedTimeout,
	})
	if err != nil {
		return err
	}
	defer func() { _ = stream.DeleteConsumer(ctx, consumer.CachedInfo().Name) }() // otherwise the server does, after InactiveThreshold
	asked, local := stream.CachedInfo().TimeStamp, time.Now()
	for left := consumer.CachedInfo().NumPending; left > 0; {
		fetched, err := consumer.Fetch(int(min(left, storedBatch)), jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		left = 0
		for msg := range fetched.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return err
			}
			left = meta.NumPending
			age := max(asked.Sub(meta.Timestamp), 0) + time.Since(local)
			w.hear(&nats.Msg{Subject: msg.Subject(), Data: msg.Data()}, age)
		}
		if err := fetched.Error(); err != nil {
			return err
		}
	}
	return nil
}
