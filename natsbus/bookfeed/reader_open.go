package bookfeed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// A place is where the reading of an instrument is in the stream.
type place struct {
	joined bool      // the reading continues; otherwise it begins with a snapshot
	after  uint64    // messages up to this sequence have been read, or are not needed
	from   time.Time // messages before joinAt that are older are not needed, by the clock of the server
	joinAt uint64    // snapshots before this sequence are not needed

	// The sequences of the last messages in the stream, as of locate; 0 if there is none.
	snapshot uint64
	update   uint64 // and of those since
	last     uint64 // of any kind

	snapshotAt time.Time // when the last snapshot was stored, by the clock of the server
}

// caughtUp reports whether the stream has no message that the reading needs.
func (p *place) caughtUp() bool { return p.last <= p.after }

// begin returns the sequence where the reading begins, about so if that is given by time.
func (p *place) begin() uint64 {
	switch {
	case p.joined:
		return p.after + 1
	case p.snapshot == 0:
		return p.last
	}
	return p.snapshot
}

// errMissed is the cause of a Gap where the stream has deleted messages that were not read.
var errMissed = errors.New("bookfeed: messages after the book's last one are not in the stream any more")

// open makes the consumer of the reader. Books that cannot continue where they are, or need a longer part of the stream than
// most, are read up to the present before.
func (r *reader) open(ctx context.Context) (jetstream.Stream, *jetstream.ConsumerInfo, error) {
	stream, err := r.feed.js.Stream(ctx, r.feed.cfg.Stream)
	if err != nil {
		return nil, nil, err
	}
	info := stream.CachedInfo()
	source := pull.Source(info)
	for _, w := range r.books {
		w.place.after = max(w.place.after, r.last)
		// A server that was cut off may come back without the end of its stream, and gives these sequences to others.
		w.place.joined = w.place.joined && source == r.source && w.place.after <= info.State.LastSeq
	}
	r.source, r.last = source, 0
	if err := r.locate(ctx); err != nil {
		return nil, nil, err
	}
	deleted, err := lastDeleted(ctx, stream, info)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range r.books {
		w.place.resume(info, max(r.feed.cfg.Lookback, 0))
	}
	r.onBooks(func(w *follower) {
		switch {
		case !w.place.joined:
			w.source = source
			w.worker.failed(w.reset(false, errMissed))
		case deleted > max(w.place.after, w.place.update):
			w.worker.failed(w.doubt(errMissed))
		}
	}).Wait()
	config, alone := r.plan(info.State.LastSeq)
	if err := r.catchUp(ctx, alone); err != nil {
		return nil, nil, err
	}
	consumer, err := r.create(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	begin := min(consumer.Delivered.Stream, info.State.LastSeq)
	for _, w := range r.books {
		w.place.joined = true
		w.place.after = max(w.place.after, begin)
	}
	r.deleted = deletions{number: info.State.NumDeleted, read: begin, at: time.Now()}
	return stream, consumer, nil
}

// locate finds the last messages of each book in the stream, by their headers alone.
func (r *reader) locate(ctx context.Context) error {
	config := jetstream.ConsumerConfig{
		Name: r.name + "-last", DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, HeadersOnly: true,
	}
	for _, kind := range bookKinds() {
		config.FilterSubjects = append(config.FilterSubjects, r.subjects(kind.String())...)
	}
	for _, w := range r.books {
		p := &w.place
		p.snapshot, p.update, p.last = 0, 0, 0
	}
	return r.drain(ctx, config, func(_ context.Context, d pull.Delivery) (bool, error) {
		if t, ok := r.targets[d.Subject]; ok {
			p, sequence := &t.book.place, d.Meta.Sequence.Stream
			p.last = max(p.last, sequence)
			switch t.kind {
			case marketprism.KindUpdate:
				p.update = sequence
			case marketprism.KindSnapshot:
				p.snapshot, p.snapshotAt = sequence, d.Meta.Timestamp
			}
		}
		return false, nil
	})
}

// resume makes the reading begin at Lookback before the last snapshot if it has not begun, or the stream has deleted
// updates that were not read.
func (p *place) resume(info *jetstream.StreamInfo, lookback time.Duration) {
	missed := info.State.FirstSeq > p.after+1 && (p.update == 0 || p.update > p.after)
	if p.joined && !missed {
		return
	}
	p.joined, p.after, p.joinAt = false, 0, p.snapshot
	p.from = p.snapshotAt.Add(-lookback)
	if p.snapshot == 0 { // the book begins with the first to come
		p.joinAt, p.from = info.State.LastSeq+1, info.TimeStamp.Add(-lookback)
	}
}

// Costs of reading, relative to the time in which a server looks whether a message of the stream matches one instrument,
// about 0.2 µs, as measured with server v2.15 and 1300 instruments.
const (
	costMatch    = 1
	costDeliver  = 40     // a message is delivered, and applied or left out
	costConsumer = 20_000 // a consumer is made, read and deleted
)

// plan returns the consumer of the reader, and the books that are read up to the present before, each with a consumer of
// its own: those for whose sake it would begin too early, such as that of an instrument which had its last change an hour
// ago. end is the last sequence of the stream.
func (r *reader) plan(end uint64) (jetstream.ConsumerConfig, []*follower) {
	var joining, continuing []*follower
	for _, w := range r.books {
		switch {
		case w.place.caughtUp():
		case w.place.joined:
			continuing = append(continuing, w)
		default:
			joining = append(joining, w)
		}
	}
	together, alone := joining, continuing // a consumer cannot begin at a time for some and at a sequence for others
	if len(continuing) > len(joining) {
		together, alone = continuing, joining
	}
	slices.SortFunc(together, func(a, b *follower) int { return cmp.Compare(a.place.begin(), b.place.begin()) })
	n := r.split(together, end)
	alone, together = append(alone, together[:n]...), together[n:]

	config := jetstream.ConsumerConfig{Name: r.name, DeliverPolicy: jetstream.DeliverByStartSequencePolicy}
	if !r.whole {
		config.FilterSubjects = r.subjects("*")
	}
	switch {
	case len(together) == 0:
		config.OptStartSeq = end + 1
	case together[0].place.joined:
		config.OptStartSeq = together[0].place.begin()
	default:
		config.DeliverPolicy = jetstream.DeliverByStartTimePolicy
		from := slices.MinFunc(together, func(a, b *follower) int { return a.place.from.Compare(b.place.from) }).place.from
		config.OptStartTime = &from
	}
	return config, alone
}

// split returns how many of the books, which are sorted by their begin, cost least if they are read alone.
func (r *reader) split(books []*follower, end uint64) (best int) {
	perMessage := uint64(costDeliver)
	switch {
	case len(r.books) == 1:
		perMessage = costMatch
	case !r.whole: // the server searches each kind of each instrument, and again for each message that it delivers
		perMessage = uint64(3 * len(r.books) * costMatch)
	}
	least, alone := uint64(math.MaxUint64), uint64(0)
	for n := range len(books) + 1 {
		cost := alone
		if n < len(books) {
			p := &books[n].place
			cost += perMessage * (end + 1 - min(p.begin(), end+1))
			alone += costConsumer + costMatch*(p.last-min(p.begin(), p.last))
		}
		if cost < least {
			least, best = cost, n
		}
	}
	return best
}

// maxJoins bounds the books that are read alone at the same time.
const maxJoins = 4

// catchUp reads the messages of some books up to the last one that locate has found.
func (r *reader) catchUp(ctx context.Context, books []*follower) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var reading sync.WaitGroup
	var next atomic.Int64
	for k := range min(len(books), maxJoins) {
		name := fmt.Sprintf("%s-join%d", r.name, k)
		reading.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(books)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := r.readAlone(ctx, name, books[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	reading.Wait()
	return context.Cause(ctx)
}

// readAlone reads the messages of one book.
func (r *reader) readAlone(ctx context.Context, name string, w *follower) error {
	p := &w.place
	config := jetstream.ConsumerConfig{
		Name: name, FilterSubject: subjects(r.feed.cfg.Prefix, w.book.instrument, "*"),
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: p.after + 1,
	}
	if !p.joined {
		config.DeliverPolicy, config.OptStartSeq, config.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &p.from
	}
	err := r.drain(ctx, config, func(ctx context.Context, d pull.Delivery) (bool, error) {
		sequence := d.Meta.Sequence.Stream
		if t, ok := r.targets[d.Subject]; ok && p.needs(t.kind, d) {
			if err := r.send(ctx, t, d); err != nil {
				return false, err
			}
			p.after = sequence
		}
		return sequence >= p.last, nil
	})
	if err == nil {
		p.joined, p.after = true, max(p.after, p.last)
	}
	return err
}

// deletions are what a reader knows of the messages that were deleted from the stream, when it looked the last time.
type deletions struct {
	number int    // of those from the midst of the stream
	read   uint64 // up to this sequence, messages had been read
	at     time.Time
}

// checkDeletions notices messages that were deleted before they were read, as by a purge of some subjects.
func (r *reader) checkDeletions(ctx context.Context, stream jetstream.Stream) {
	before := r.deleted
	if time.Since(before.at) < feedFetch {
		return
	}
	r.deleted.at = time.Now()
	ctx, cancel := context.WithTimeout(ctx, feedHeartbeat)
	defer cancel()
	info, err := stream.Info(ctx)
	if err != nil {
		return // the next check finds the same
	}
	deleted := max(info.State.FirstSeq, 1) - 1
	if info.State.NumDeleted > before.number {
		last, err := lastDeleted(ctx, stream, info)
		if err != nil {
			return
		}
		deleted = max(deleted, last)
	}
	r.deleted.number, r.deleted.read = info.State.NumDeleted, max(r.last, before.read)
	if deleted <= before.read {
		return
	}
	r.onBooks(func(w *follower) {
		if deleted > w.place.update {
			w.worker.failed(w.doubt(errMissed))
		}
	}).Wait()
}

// maxDeletions is the number of deleted messages from which on the server is not asked which they are. Their numbers
// would be an answer of a megabyte.
const maxDeletions = 100_000

// lastDeleted returns the highest sequence of a message that was deleted from the midst of the stream, 0 if there is none.
func lastDeleted(ctx context.Context, stream jetstream.Stream, info *jetstream.StreamInfo) (uint64, error) {
	switch n := info.State.NumDeleted; {
	case n == 0:
		return 0, nil
	case n > maxDeletions:
		return info.State.LastSeq, nil
	}
	info, err := stream.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil || len(info.State.Deleted) == 0 {
		return 0, err
	}
	return slices.Max(info.State.Deleted), nil
}
