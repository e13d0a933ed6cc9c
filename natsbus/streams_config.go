package natsbus

import (
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
)

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
	heartbeats := cfg.Heartbeats.or(check.StreamName(cfg.Prefix, "_HEARTBEAT"), day, 8<<20, 2*time.Minute)
	// both returns the subjects of both streams of market data, so that the streams of another Prefix have others.
	both := func(pattern func(stream string) []string) []string {
		return append(pattern(books.Name), pattern(trades.Name)...)
	}
	return []streamClass{
		{StreamConfig: books, subjects: subjectsOf(cfg.Prefix, bookKinds())},
		{StreamConfig: trades, subjects: subjectsOf(cfg.Prefix, tradeKinds())},
		{StreamConfig: dead, subjects: both(func(s string) []string { return []string{letter.Subject(s, "*", ">")} }), keeps: true},
		{StreamConfig: redrive, subjects: both(func(s string) []string { return []string{letter.RedriveSubject(s, "*", ">")} }),
			retention: jetstream.WorkQueuePolicy, keeps: true},
		{StreamConfig: advisories, subjects: both(advisorySubjects)},
		{StreamConfig: heartbeats, subjects: []string{cfg.Prefix + "hb.>"}, lastOnly: true},
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
		Name:      c.Name,
		Subjects:  c.subjects,
		Retention: c.retention,
		Storage:   jetstream.FileStorage,
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

// merge returns the configuration of an existing stream with the settings of a StreamsConfig. Additional subjects stay.
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
