package bookfeed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

const (
	feedBatch     = 4000     // messages of a fetch
	feedBytes     = 16 << 20 // of the same; no message is larger
	feedFetch     = 2 * time.Second
	feedHeartbeat = time.Second // between two signs of life of the server during a fetch
	feedSilence   = 2 * feedHeartbeat
	feedIdle      = time.Minute // after which the server deletes a consumer without a request
)

// create makes a consumer of the reader. What an attempt before has left under the name is deleted: a request that timed
// out may have made a consumer all the same, and one that was read continues elsewhere.
func (r *reader) create(ctx context.Context, config jetstream.ConsumerConfig) (*jetstream.ConsumerInfo, error) {
	config.Description = pull.Description("reads for a feed of books")
	config.Metadata = pull.Metadata("book-feed")
	config.AckPolicy = jetstream.AckNonePolicy
	config.MemoryStorage = true
	config.Replicas = 1
	config.InactiveThreshold = feedIdle
	for attempt := 0; ; attempt++ {
		consumer, err := r.feed.js.CreateConsumer(ctx, r.feed.cfg.Stream, config)
		if err == nil && consumer.CachedInfo().Delivered.Consumer == 0 {
			return consumer.CachedInfo(), nil
		}
		if err != nil && (attempt > 0 || !errors.Is(err, jetstream.ErrConsumerExists)) {
			return nil, err
		}
		err = r.feed.js.DeleteConsumer(ctx, r.feed.cfg.Stream, config.Name)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, err
		}
	}
}

// remove deletes a consumer, if the server can be reached.
func (r *reader) remove(ctx context.Context, name string) {
	if !r.feed.js.Conn().IsConnected() {
		return
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), feedHeartbeat)
	defer cancel()
	_ = r.feed.js.DeleteConsumer(late, r.feed.cfg.Stream, name) // otherwise the server does, after feedIdle
}

// drain makes a consumer and calls take with each message that it has at present, until that returns true.
func (r *reader) drain(ctx context.Context, config jetstream.ConsumerConfig, take func(context.Context, pull.Delivery) (bool, error)) error {
	info, err := r.create(ctx, config)
	if err != nil {
		return err
	}
	defer r.remove(ctx, config.Name)
	left := info.NumPending
	if left == 0 {
		return nil
	}
	return r.fetch(ctx, config.Name, func(ctx context.Context, d pull.Delivery) (bool, error) {
		left--
		done, err := take(ctx, d)
		return done || left == 0 || d.Meta.NumPending == 0, err
	}, func() {})
}

// fetch requests messages of a new consumer and calls take with each, until that returns true. It calls between after each
// request.
func (r *reader) fetch(ctx context.Context, name string, take func(context.Context, pull.Delivery) (bool, error), between func()) error {
	p, err := pull.New(r.feed.js, r.feed.cfg.Stream, name, feedBatch)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	for {
		if done, err := r.fetchOnce(ctx, p, take); done || err != nil {
			return err
		}
		between()
	}
}

// fetchOnce requests messages once, and calls take with them as they arrive, until it returns true.
func (r *reader) fetchOnce(ctx context.Context, p *pull.Puller, take func(context.Context, pull.Delivery) (bool, error)) (done bool, err error) {
	err = p.Request(pull.Request{Batch: feedBatch, MaxBytes: feedBytes, Expires: feedFetch, Heartbeat: feedHeartbeat})
	if err != nil {
		return false, err
	}
	silence := time.NewTimer(feedSilence)
	defer silence.Stop()
	for p.Due() > 0 {
		select {
		case msg := <-p.Messages():
			silence.Reset(feedSilence)
			d, ok, err := p.Receive(msg)
			if ok && err == nil {
				done, err = take(ctx, d)
			}
			if done || err != nil {
				return done, err
			}
		case <-silence.C:
			if len(p.Messages()) == 0 { // otherwise the workers took so long
				return false, fmt.Errorf("%w: %w", natsbus.ErrUnavailable, pull.ErrSilent)
			}
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	return false, nil
}

// receive gives a message to the worker of its book, unless that has it already or does not need it.
func (r *reader) receive(ctx context.Context, d pull.Delivery) (bool, error) {
	t, ok := r.targets[d.Subject]
	if ok && t.book.place.needs(t.kind, d) {
		if err := r.send(ctx, t, d); err != nil {
			return false, err
		}
	}
	r.last = d.Meta.Sequence.Stream
	r.received++
	if !r.live && d.Meta.NumPending == 0 {
		r.goLive()
	}
	return false, nil
}

// needs reports whether the reading needs a message. From joinAt on it needs all, whatever their times: a message is
// stored with the time of the server that leads the stream then, whose clock may be behind that of the leader before.
func (p *place) needs(kind marketprism.Kind, d pull.Delivery) bool {
	switch sequence := d.Meta.Sequence.Stream; {
	case sequence <= p.after:
		return false
	case sequence >= p.joinAt:
		return true
	}
	return kind != marketprism.KindSnapshot && !d.Meta.Timestamp.Before(p.from)
}

// send gives a message to the worker of its book.
func (r *reader) send(ctx context.Context, t target, d pull.Delivery) error {
	sequence := d.Meta.Sequence.Stream
	select {
	case t.book.worker.queue <- task{book: t.book, message: message{d.Msg, sequence, d.Meta.NumPending}}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if t.kind == marketprism.KindUpdate {
		t.book.place.update = sequence
	}
	return nil
}

// checkEnd asks the server whether a consumer that is not at the end of the bus has anything left. No message says so if
// those behind the last one were deleted, by a purge or the stream's limits.
func (r *reader) checkEnd(ctx context.Context) {
	if r.live || time.Since(r.asked) < feedFetch {
		return
	}
	r.asked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, feedHeartbeat)
	defer cancel()
	consumer, err := r.feed.js.Consumer(ctx, r.feed.cfg.Stream, r.name)
	if err == nil && consumer.CachedInfo().NumPending == 0 { // an error is one of the next request as well
		r.goLive()
	}
}

// goLive makes the books live: the messages up to the end of the bus are in the queues of their workers.
func (r *reader) goLive() {
	r.live = true
	r.onBooks(func(w *follower) { w.reached(w.book.sequence, 0, true) })
}

// onBooks makes the workers call f with each book, after the messages so far.
func (r *reader) onBooks(f func(*follower)) *sync.WaitGroup {
	byWorker := make(map[*worker][]*follower)
	for _, w := range r.books {
		byWorker[w.worker] = append(byWorker[w.worker], w)
	}
	var calls sync.WaitGroup
	for k, books := range byWorker {
		calls.Add(1)
		k.queue <- task{call: func() {
			defer calls.Done()
			for _, w := range books {
				f(w)
			}
		}}
	}
	return &calls
}

// bookKinds returns the kinds of record that make up a book.
func bookKinds() []marketprism.Kind {
	return []marketprism.Kind{marketprism.KindUpdate, marketprism.KindSnapshot, marketprism.KindGap}
}

// subjects returns patterns that match the subjects of a kind, or of all kinds for "*".
func (r *reader) subjects(kind string) []string {
	if r.whole {
		return []string{r.feed.cfg.Prefix + ".*.*." + kind + ".*"}
	}
	patterns := make([]string, len(r.books))
	for i, w := range r.books {
		patterns[i] = subjects(r.feed.cfg.Prefix, w.book.instrument, kind)
	}
	return patterns
}

// subjects returns the subject of an instrument's messages of a kind, or of all kinds for "*".
func subjects(prefix string, instrument marketprism.Instrument, kind string) string {
	tokens := strings.Split(natsbus.Subject(prefix, instrument, marketprism.KindUpdate), ".")
	tokens[len(tokens)-2] = kind
	return strings.Join(tokens, ".")
}
