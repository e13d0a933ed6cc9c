package natsbus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
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
	// of 2 min. When it is full it drops the oldest, whatever DropOldest says: the server does not repeat an advisory
	// that was refused, and the oldest have been read unless the AdvisoryWatch is far behind.
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
// they are. Each has a description of what it holds, unless it has another one already, and metadata with the keys owner
// and role. Calling it again does nothing. It never deletes messages: it refuses a limit below what a stream holds with
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

// streams validates cfg, fills in the defaults and returns the streams in the server's terms.
func (cfg StreamsConfig) streams() ([]jetstream.StreamConfig, error) {
	defaults.Set(&cfg.Prefix, DefaultPrefix)
	if err := check.Prefix(cfg.Prefix); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSubject, err)
	}
	defaults.Set(&cfg.Replicas, 1)
	if cfg.Replicas < 1 || cfg.Replicas > 5 {
		return nil, fmt.Errorf("natsbus: Replicas %d: want 1 to 5", cfg.Replicas)
	}
	classes := cfg.classes()
	streams := make([]jetstream.StreamConfig, 0, len(classes))
	for _, class := range classes {
		if err := class.validate(); err != nil {
			return nil, err
		}
		for _, other := range streams {
			if other.Name == class.Name {
				return nil, fmt.Errorf("natsbus: two streams are named %q", class.Name)
			}
		}
		streams = append(streams, class.server(cfg.Replicas))
	}
	return streams, nil
}

// A streamClass is one of the streams, with its fixed settings.
type streamClass struct {
	StreamConfig
	role      string // in the metadata
	about     string // what it holds, for its description
	subjects  []string
	retention jetstream.RetentionPolicy
	lastOnly  bool // it holds the last message of each subject, in memory
	keeps     bool // nothing may be dropped from it
}

func (cfg StreamsConfig) classes() []streamClass {
	const day = 24 * time.Hour
	books := cfg.Books.or(BooksStream(cfg.Prefix), day, 1<<30, 2*time.Minute)
	trades := cfg.Trades.or(TradesStream(cfg.Prefix), 3*day, 512<<20, 5*time.Minute)
	dead := cfg.DeadLetters.or(DeadLettersStream(cfg.Prefix), 30*day, 128<<20, time.Hour)
	redrive := cfg.Redrive.or(RedriveStream(cfg.Prefix), -1, 64<<20, time.Hour)
	advisories := cfg.Advisories.or(check.StreamName(cfg.Prefix, "_ADVISORY"), 7*day, 32<<20, 2*time.Minute)
	advisories.DropOldest = true
	heartbeats := cfg.Heartbeats.or(check.StreamName(cfg.Prefix, "_HEARTBEAT"), day, 8<<20, 2*time.Minute)
	// both returns the subjects of both streams of market data, so that the streams of another Prefix have others.
	both := func(pattern func(stream string) []string) []string {
		return append(pattern(books.Name), pattern(trades.Name)...)
	}
	return []streamClass{
		{StreamConfig: books, role: "books", about: "order books: updates, snapshots, gaps and best prices, one record a message",
			subjects: subjectsOf(cfg.Prefix, bookKinds())},
		{StreamConfig: trades, role: "trades", about: "trades, single and aggregated, one record a message",
			subjects: subjectsOf(cfg.Prefix, tradeKinds())},
		{StreamConfig: dead, role: "dead-letters", about: "messages that a consumer could not use, with the cause in their headers",
			subjects: both(func(s string) []string { return []string{letter.Subject(s, "*", ">")} }), keeps: true},
		{StreamConfig: redrive, role: "redrives", about: "dead letters on their way back to the consumer that could not use them",
			subjects:  both(func(s string) []string { return []string{letter.RedriveSubject(s, "*", ">")} }),
			retention: jetstream.WorkQueuePolicy, keeps: true},
		{StreamConfig: advisories, role: "advisories", about: "the server's reports of messages that it will not deliver any more",
			subjects: both(advisorySubjects)},
		{StreamConfig: heartbeats, role: "heartbeats", about: "the last status of each service",
			subjects: []string{cfg.Prefix + "hb.>"}, lastOnly: true},
	}
}

func subjectsOf(prefix string, kinds []marketprism.Kind) []string {
	subjects := make([]string, len(kinds))
	for i, kind := range kinds {
		subjects[i] = prefix + ".*.*." + kind.String() + ".*"
	}
	return subjects
}

// advisorySubjects returns the subjects of the advisories that the server will not deliver a message of a stream any
// more: a durable has reached its MaxDeliver, or a program has terminated the message.
func advisorySubjects(stream string) []string {
	return []string{
		"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + stream + ".*",
		"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED." + stream + ".*",
	}
}

func (c StreamConfig) or(name string, maxAge time.Duration, maxBytes int64, dedupe time.Duration) StreamConfig {
	defaults.Set(&c.Name, name)
	defaults.Set(&c.MaxAge, maxAge)
	defaults.Set(&c.MaxBytes, maxBytes)
	defaults.Set(&c.DedupeWindow, dedupe)
	return c
}

func (c streamClass) validate() error {
	if err := check.Names("stream name", c.Name); err != nil {
		return fmt.Errorf("natsbus: %w", err)
	}
	if c.DropOldest && c.keeps {
		return fmt.Errorf("natsbus: stream %s: DropOldest would lose messages", c.Name)
	}
	if c.DedupeWindow < 100*time.Millisecond {
		return fmt.Errorf("natsbus: stream %s: DedupeWindow %v: want at least 100ms, the server's smallest", c.Name, c.DedupeWindow)
	}
	if c.MaxAge > 0 && c.MaxAge < c.DedupeWindow {
		return fmt.Errorf("natsbus: stream %s: MaxAge %v is less than DedupeWindow %v", c.Name, c.MaxAge, c.DedupeWindow)
	}
	return nil
}

func (c streamClass) server(replicas int) jetstream.StreamConfig {
	config := jetstream.StreamConfig{
		Name:        c.Name,
		Description: pull.Description(c.about),
		Metadata:    pull.Metadata(c.role),
		Subjects:    c.subjects,
		Retention:   c.retention,
		Storage:     jetstream.FileStorage,
		// A full stream refuses messages, and the Publisher waits. DiscardOld would lose unread ones without a report.
		Discard:     jetstream.DiscardNew,
		MaxAge:      max(c.MaxAge, 0),
		MaxBytes:    max(c.MaxBytes, -1),
		Duplicates:  c.DedupeWindow,
		Compression: jetstream.S2Compression,
		Replicas:    replicas,
		AllowDirect: true,
	}
	if c.Uncompressed || c.lastOnly {
		config.Compression = jetstream.NoCompression
	}
	if c.DropOldest {
		config.Discard = jetstream.DiscardOld
	}
	if c.lastOnly {
		config.Storage = jetstream.MemoryStorage
		config.Discard = jetstream.DiscardOld // an old heartbeat is worthless
		config.MaxMsgsPerSubject = 1
	}
	return config
}

// merge returns the configuration of an existing stream with the settings of a StreamsConfig. Additional subjects and
// metadata stay, and so does a description that somebody else has written.
func merge(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	merged := have
	if have.Description == "" || pull.IsDescription(have.Description) {
		merged.Description = want.Description
	}
	merged.Metadata = maps.Clone(have.Metadata)
	if merged.Metadata == nil {
		merged.Metadata = make(map[string]string)
	}
	maps.Copy(merged.Metadata, want.Metadata)
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

// deletesNothing returns ErrWouldDelete if the stream holds more than new limits allow.
func deletesNothing(state jetstream.StreamState, config jetstream.StreamConfig) error {
	if config.MaxBytes > 0 && state.Bytes > uint64(config.MaxBytes) {
		return fmt.Errorf("%w: MaxBytes %d, held %d", ErrWouldDelete, config.MaxBytes, state.Bytes)
	}
	if age := time.Since(state.FirstTime); config.MaxAge > 0 && state.Msgs > 0 && age > config.MaxAge {
		return fmt.Errorf("%w: MaxAge %v, the oldest is of %s", ErrWouldDelete, config.MaxAge, state.FirstTime.UTC().Format(time.RFC3339))
	}
	return nil
}

// compatible returns ErrIncompatible for a stream that an update cannot change to the one wanted.
func compatible(have, want jetstream.StreamConfig) error {
	switch {
	case have.Storage != want.Storage:
		return fmt.Errorf("%w: its storage is %v, wanted is %v", ErrIncompatible, have.Storage, want.Storage)
	case have.Retention != want.Retention:
		return fmt.Errorf("%w: its retention is %v, wanted is %v", ErrIncompatible, have.Retention, want.Retention)
	case have.Mirror != nil:
		return fmt.Errorf("%w: it is a mirror of %s", ErrIncompatible, have.Mirror.Name)
	case have.Sealed:
		return fmt.Errorf("%w: it is sealed", ErrIncompatible)
	case have.NoAck:
		return fmt.Errorf("%w: it confirms nothing (NoAck)", ErrIncompatible)
	}
	return nil
}
