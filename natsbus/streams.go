package natsbus

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// A StreamsConfig describes the streams that hold market data. The zero value is ready to use.
type StreamsConfig struct {
	Prefix string // first tokens of every subject; "" means DefaultPrefix

	// Books holds depth, snap, gap and bbo. They are in one stream because only messages of one stream have an
	// order, which a snapshot, the updates after it and the gap that ends them need. Its defaults: the name that
	// BooksStream gives, 24 h, 1 GiB, a dedupe window of 2 min.
	Books StreamConfig

	// Trades holds trade and aggtrade. Its defaults: the name that TradesStream gives, 72 h, 512 MiB, a dedupe
	// window of 5 min.
	Trades StreamConfig

	// DeadLetters holds the messages that a Consumer could not use; see ConsumerConfig.DeadLetters. Its defaults:
	// the name that DeadLettersStream gives, 30 days, 128 MiB, a dedupe window of 1 h.
	DeadLetters StreamConfig

	// Redrive holds dead letters that deadletter.Queue.Redrive has re-driven, until their Consumer has acknowledged
	// them. Its defaults: the name that RedriveStream gives, no maximum age, because nothing in it may vanish
	// unread, 64 MiB, a dedupe window of 1 h.
	Redrive StreamConfig

	// Advisories holds the server's advisories of messages that it will not deliver any more; see
	// deadletter.AdvisoryWatch. Its defaults: the name that deadletter.AdvisoriesStream gives, 7 days, 32 MiB, a dedupe window
	// of 2 min.
	Advisories StreamConfig

	// Heartbeats holds the last message on each subject PREFIXhb.>, such as mdhb.collector-1, in memory. Its
	// defaults: the name that presence.Stream gives, 24 h, 8 MiB, a dedupe window of 2 min.
	Heartbeats StreamConfig

	Replicas int // servers that hold each stream, 1 to 5; 0 means 1
}

// A StreamConfig limits one stream. A full stream refuses new messages and never drops old ones, unless DropOldest is
// set: a consumer that lags behind loses nothing before MaxAge.
type StreamConfig struct {
	Name     string        // letters, digits, '-' and '_'
	MaxAge   time.Duration // messages are deleted when they are older; negative means never
	MaxBytes int64         // size on disk, reserved at once; negative means no limit but the server's

	// DropOldest makes a full stream drop its oldest message for a new one, whether or not it was read, without any
	// report: for a stream that is only read live. It is not allowed for dead letters and re-drives.
	DropOldest bool

	// DedupeWindow is how long the server remembers the id of a message, and drops a second message with it. It
	// costs the server about 225 bytes of memory a message: 0.5 GB at 20,000 messages/s and 2 min.
	DedupeWindow time.Duration

	// Uncompressed turns off the S2 compression on disk, which halves the space for a quarter more CPU time.
	Uncompressed bool
}

// bookKinds and tradeKinds are the kinds of record in the two streams.
func bookKinds() []marketprism.Kind {
	return []marketprism.Kind{marketprism.KindUpdate, marketprism.KindSnapshot, marketprism.KindGap, marketprism.KindTicker}
}

func tradeKinds() []marketprism.Kind {
	return []marketprism.Kind{marketprism.KindTrade, marketprism.KindAggTrade}
}

// BooksStream returns the default name of the stream of depth, snap, gap and bbo: MD_DEPTH for the prefix "md".
func BooksStream(prefix string) string { return check.StreamName(prefix, "_DEPTH") }

// TradesStream returns the default name of the stream of trade and aggtrade: MD_TRADE for the prefix "md".
func TradesStream(prefix string) string { return check.StreamName(prefix, "_TRADE") }

// DeadLettersStream returns the default name of the stream of dead letters: MD_DLQ for the prefix "md".
func DeadLettersStream(prefix string) string { return check.StreamName(prefix, "_DLQ") }

// RedriveStream returns the default name of the stream of re-drives: MD_REDRIVE for the prefix "md".
func RedriveStream(prefix string) string { return check.StreamName(prefix, "_REDRIVE") }

// EnsureStreams makes the streams, or changes existing ones to cfg, and leaves all settings that cfg does not have as
// they are. Calling it again does nothing. It never deletes messages: it refuses a limit below what a stream holds with
// ErrWouldDelete. The error is a *StreamError, which may wrap one of ErrWouldDelete, ErrStorage, ErrReplicas and
// ErrIncompatible, or describes an invalid cfg.
func EnsureStreams(ctx context.Context, js jetstream.StreamManager, cfg StreamsConfig) error {
	streams, err := cfg.streams()
	if err != nil {
		return err
	}
	for _, want := range streams {
		if err := ensureStream(ctx, js, want); err != nil {
			return err
		}
	}
	return nil
}

func ensureStream(ctx context.Context, js jetstream.StreamManager, want jetstream.StreamConfig) error {
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = js.CreateStream(ctx, want)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return streamError(want.Name, "create", err)
		}
		stream, err = js.Stream(ctx, want.Name) // another program was faster
	}
	if err != nil {
		return streamError(want.Name, "look up", err)
	}
	info := stream.CachedInfo()
	if err := compatible(info.Config, want); err != nil {
		return streamError(want.Name, "update", err)
	}
	config := merge(info.Config, want)
	if reflect.DeepEqual(info.Config, config) {
		return nil
	}
	if err := deletesNothing(info.State, config); err != nil {
		return streamError(want.Name, "update", err)
	}
	_, err = js.UpdateStream(ctx, config)
	return streamError(want.Name, "update", err)
}

// StreamSource returns the name of a stream with its time of creation, the Source of the Origin of its records: a stream
// that is deleted and created again counts its sequences from 1, and has another Source. The error is a *StreamError.
func StreamSource(ctx context.Context, js jetstream.StreamManager, stream string) (string, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return "", streamError(stream, "look up", err)
	}
	return pull.Source(s.CachedInfo()), nil
}

// StreamStats is the content of a stream. For the stream of dead letters, Messages is their number and Oldest when the
// oldest was stored.
type StreamStats struct {
	Messages uint64
	Bytes    uint64
	MaxBytes int64 // -1 means no limit

	First, Last    uint64    // sequences; First is Last+1 in an empty stream
	Oldest, Newest time.Time // when the server stored them, by its clock; zero if there are none
}

// ReadStreamStats asks the server for the content of a stream, without reading any message. The error is a *StreamError.
func ReadStreamStats(ctx context.Context, js jetstream.StreamManager, stream string) (StreamStats, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return StreamStats{}, streamError(stream, "look up", err)
	}
	info := s.CachedInfo() // of this request
	stats := StreamStats{
		Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes,
		First: info.State.FirstSeq, Last: info.State.LastSeq,
	}
	if stats.Messages > 0 {
		stats.Oldest, stats.Newest = info.State.FirstTime, info.State.LastTime
	}
	return stats, nil
}
