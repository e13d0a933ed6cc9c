package natsbus

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// A StreamsConfig describes the streams that hold market data. The zero value is ready to use.
type StreamsConfig struct {
	Prefix string // first tokens of every subject; "" means DefaultPrefix

	// Books holds depth, snap, gap and bbo: all that a reader of books needs, in one stream, because
	// only within one stream is there an order between a snapshot, the updates after it and the gap
	// that ends them. Its defaults: the name BooksStream gives, 24 h, 1 GiB, a dedupe window of 2 min.
	Books StreamConfig

	// Trades holds trade and aggtrade. Its defaults: the name TradesStream gives, 72 h, 512 MiB, a
	// dedupe window of 5 min.
	Trades StreamConfig

	// DeadLetters holds what a Consumer could not use; see ConsumerConfig.DeadLetters. Its defaults: the
	// name DeadLettersStream gives, 30 days, 128 MiB, a dedupe window of 1 h.
	DeadLetters StreamConfig

	// Redrive holds dead letters that DeadLetters.Redrive has put back, until their Consumer has dealt
	// with them. Its defaults: the name RedriveStream gives, no age, because nothing in it may vanish
	// unread, 64 MiB, a dedupe window of 1 h.
	Redrive StreamConfig

	// Advisories holds what the server tells of messages that it will not deliver any more; see
	// AdvisoryWatch. Its defaults: the name AdvisoriesStream gives, 7 days, 32 MiB, a dedupe window of
	// 2 min.
	Advisories StreamConfig

	// Heartbeats holds the last message on each subject PREFIXhb.>, such as mdhb.collector-1, in memory.
	// Its defaults: the name HeartbeatsStream gives, 24 h, 8 MiB, a dedupe window of 2 min.
	Heartbeats StreamConfig

	Replicas int // servers that hold each stream, 1 to 5; 0 means 1
}

// A StreamConfig limits one stream. A stream that is full refuses new messages and never drops old
// ones, unless DropOldest is set: a consumer that lags behind loses nothing before MaxAge.
type StreamConfig struct {
	Name     string        // letters, digits, '-' and '_'
	MaxAge   time.Duration // messages are deleted when they are older; negative means never
	MaxBytes int64         // size on disk; negative means no limit but the server's. It is reserved at once

	// DropOldest has a full stream drop its oldest message for a new one, whether or not it was read, and
	// nobody is told: for a stream that is only watched live. It is not allowed for dead letters and
	// re-drives.
	DropOldest bool

	// DedupeWindow is how long the server remembers a message by its Key and drops a second one. It
	// costs the server about 225 bytes of memory a message: 0.5 GB at 20,000 messages/s and 2 min.
	DedupeWindow time.Duration

	// Uncompressed turns off the S2 compression on disk, which halves the space for a quarter more
	// of CPU time.
	Uncompressed bool
}

// bookKinds and tradeKinds are what the two streams hold.
func bookKinds() []marketprism.Kind {
	return []marketprism.Kind{marketprism.KindUpdate, marketprism.KindSnapshot, marketprism.KindGap, marketprism.KindTicker}
}

func tradeKinds() []marketprism.Kind {
	return []marketprism.Kind{marketprism.KindTrade, marketprism.KindAggTrade}
}

// BooksStream is the name of the stream of depth, snap, gap and bbo unless another is configured:
// MD_DEPTH for the prefix "md".
func BooksStream(prefix string) string { return streamName(prefix, "_DEPTH") }

// TradesStream is the name of the stream of trade and aggtrade unless another is configured:
// MD_TRADE for the prefix "md".
func TradesStream(prefix string) string { return streamName(prefix, "_TRADE") }

// AdvisoriesStream is the name of the stream of advisories unless another is configured: MD_ADVISORY
// for the prefix "md".
func AdvisoriesStream(prefix string) string { return streamName(prefix, "_ADVISORY") }

// HeartbeatsStream is the name of the stream of heartbeats unless another is configured: MD_HEARTBEAT
// for the prefix "md".
func HeartbeatsStream(prefix string) string { return streamName(prefix, "_HEARTBEAT") }

func streamName(prefix, class string) string {
	defaults.Set(&prefix, DefaultPrefix)
	return strings.ToUpper(strings.ReplaceAll(prefix, ".", "_")) + class
}

// EnsureStreams makes the streams, or changes those that are there to what cfg says, leaving all that
// cfg does not speak of as it is. Calling it again does nothing. It never deletes messages: a limit
// below what a stream holds is refused with ErrWouldDelete. The error is a *StreamError, which wraps one
// of ErrWouldDelete, ErrStorage, ErrReplicas and ErrIncompatible where it is one of those, or says what is
// wrong with cfg.
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
		stream, err = js.Stream(ctx, want.Name) // somebody else was faster
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

// merge returns the configuration of an existing stream with the fields set that a StreamsConfig
// speaks of. Subjects that somebody added stay.
func merge(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	merged := have
	merged.Subjects = slices.Clone(have.Subjects)
	for _, subject := range want.Subjects {
		if !slices.Contains(merged.Subjects, subject) {
			merged.Subjects = append(merged.Subjects, subject)
		}
	}
	merged.Discard = want.Discard
	merged.MaxAge = want.MaxAge
	merged.MaxBytes = want.MaxBytes
	merged.Duplicates = want.Duplicates
	merged.Compression = want.Compression
	merged.Replicas = want.Replicas
	merged.AllowDirect = want.AllowDirect
	if want.MaxMsgsPerSubject > 0 {
		merged.MaxMsgsPerSubject = want.MaxMsgsPerSubject
	}
	return merged
}

// deletesNothing compares new limits with what the stream holds.
func deletesNothing(state jetstream.StreamState, config jetstream.StreamConfig) error {
	if config.MaxBytes > 0 && state.Bytes > uint64(config.MaxBytes) {
		return fmt.Errorf("%w: MaxBytes %d, held %d", ErrWouldDelete, config.MaxBytes, state.Bytes)
	}
	if age := time.Since(state.FirstTime); config.MaxAge > 0 && state.Msgs > 0 && age > config.MaxAge {
		return fmt.Errorf("%w: MaxAge %v, the oldest is of %s", ErrWouldDelete, config.MaxAge, state.FirstTime.UTC().Format(time.RFC3339))
	}
	return nil
}

// StreamSource returns the name of a stream with its time of creation: the Source of the Origin of
// the records read from it. A stream that is deleted and made anew counts its sequences from 1 again
// and has another Source. The error is a *StreamError.
func StreamSource(ctx context.Context, js jetstream.StreamManager, stream string) (string, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return "", streamError(stream, "look up", err)
	}
	return pull.Source(s.CachedInfo()), nil
}
