package bookfeed

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// errMissed is the cause of a Gap where the bus has deleted what was not read yet.
var errMissed = errors.New("bookfeed: what follows the book is not in the stream any more")

// open makes a consumer that delivers from where the reading stands. The server forgets it by itself.
func (w *follower) open(ctx context.Context) (jetstream.Consumer, error) {
	stream, err := w.feed.js.Stream(ctx, w.feed.cfg.Stream)
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	switch missed, err := w.missed(ctx, stream, info); {
	case err != nil:
		return nil, err
	case missed:
		if err := w.join(ctx, stream, info); err != nil {
			return nil, err
		}
	}
	return stream.CreateConsumer(ctx, w.consumerConfig())
}

// consumerConfig filters by one wildcard subject, because the server is slow with a list of them.
func (w *follower) consumerConfig() jetstream.ConsumerConfig {
	config := jetstream.ConsumerConfig{
		FilterSubject:     filter(w.feed.cfg.Prefix, w.book.instrument),
		AckPolicy:         jetstream.AckNonePolicy,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       w.reading.last + 1,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: feedIdle,
	}
	if w.reading.last == 0 {
		config.DeliverPolicy, config.OptStartSeq, config.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &w.reading.from
	}
	return config
}

// filter returns the pattern of an instrument's subjects of all kinds: the kind is the last token but one.
func filter(prefix string, instrument marketprism.Instrument) string {
	subject := natsbus.Subject(prefix, instrument, marketprism.KindUpdate)
	symbol := strings.LastIndexByte(subject, '.')
	kind := strings.LastIndexByte(subject[:symbol], '.')
	return subject[:kind+1] + "*" + subject[symbol:]
}

// missed tells whether the reading cannot go on where it stands: it has not begun, the stream is
// another one, or updates have been deleted that were not read.
func (w *follower) missed(ctx context.Context, stream jetstream.Stream, info *jetstream.StreamInfo) (bool, error) {
	r := &w.reading
	if r.source != pull.Source(info) {
		return true, nil
	}
	if r.last == 0 || info.State.FirstSeq <= r.last+1 {
		return false, nil
	}
	msg, err := stream.GetLastMsgForSubject(ctx, natsbus.Subject(w.feed.cfg.Prefix, w.book.instrument, marketprism.KindUpdate))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil
	}
	return err == nil && msg.Sequence > r.last, err
}

// join sets the reading to some time before the last snapshot. A known book ends with a Gap.
func (w *follower) join(ctx context.Context, stream jetstream.Stream, info *jetstream.StreamInfo) error {
	r := &w.reading
	if err := w.reset(false, errMissed); err != nil {
		return &stopError{err}
	}
	lookback := max(w.feed.cfg.Lookback, 0)
	from, joinAt := info.TimeStamp.Add(-lookback), uint64(0)
	switch msg, err := stream.GetLastMsgForSubject(ctx, natsbus.Subject(w.feed.cfg.Prefix, w.book.instrument, marketprism.KindSnapshot)); {
	case err == nil:
		from, joinAt = msg.Time.Add(-lookback), msg.Sequence
	case !errors.Is(err, jetstream.ErrMsgNotFound): // without one, the first that comes will do
		return err
	}
	r.source, r.last, r.from, r.joinAt = pull.Source(info), 0, from, joinAt
	return nil
}
