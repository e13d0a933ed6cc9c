package natsbus

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
)

// streams validates cfg, fills in the defaults and returns the streams in the server's terms.
func (cfg StreamsConfig) streams() ([]jetstream.StreamConfig, error) {
	setDefault(&cfg.Prefix, DefaultPrefix)
	if err := validPrefix(cfg.Prefix); err != nil {
		return nil, err
	}
	setDefault(&cfg.Replicas, 1)
	if cfg.Replicas < 1 || cfg.Replicas > 5 {
		return nil, fmt.Errorf("natsbus: Replicas %d: want 1 to 5", cfg.Replicas)
	}
	books := cfg.Books.or(StreamConfig{
		Name: BooksStream(cfg.Prefix), MaxAge: 24 * time.Hour, MaxBytes: 1 << 30, DedupeWindow: 2 * time.Minute,
	})
	trades := cfg.Trades.or(StreamConfig{
		Name: TradesStream(cfg.Prefix), MaxAge: 72 * time.Hour, MaxBytes: 512 << 20, DedupeWindow: 5 * time.Minute,
	})
	dead := cfg.DeadLetters.or(StreamConfig{
		Name: DeadLettersStream(cfg.Prefix), MaxAge: 30 * 24 * time.Hour, MaxBytes: 128 << 20, DedupeWindow: time.Hour,
	})
	var streams []jetstream.StreamConfig
	for _, class := range []struct {
		StreamConfig
		subjects []string
	}{
		{books, subjectsOf(cfg.Prefix, bookKinds())},
		{trades, subjectsOf(cfg.Prefix, tradeKinds())},
		{dead, []string{deadSubject(books.Name, "*", ">"), deadSubject(trades.Name, "*", ">")}},
	} {
		if err := class.validate(); err != nil {
			return nil, err
		}
		for _, other := range streams {
			if other.Name == class.Name {
				return nil, fmt.Errorf("natsbus: two streams are named %q", class.Name)
			}
		}
		streams = append(streams, class.server(cfg.Replicas, class.subjects))
	}
	return streams, nil
}

func subjectsOf(prefix string, kinds []marketprism.Kind) []string {
	subjects := make([]string, len(kinds))
	for i, kind := range kinds {
		subjects[i] = prefix + ".*.*." + kind.String() + ".*"
	}
	return subjects
}

func (c StreamConfig) or(defaults StreamConfig) StreamConfig {
	setDefault(&c.Name, defaults.Name)
	setDefault(&c.MaxAge, defaults.MaxAge)
	setDefault(&c.MaxBytes, defaults.MaxBytes)
	setDefault(&c.DedupeWindow, defaults.DedupeWindow)
	return c
}

func (c StreamConfig) validate() error {
	if !plainASCII(c.Name) {
		return fmt.Errorf("natsbus: stream name %q: want letters, digits, '-' and '_'", c.Name)
	}
	if c.DedupeWindow < 100*time.Millisecond {
		return fmt.Errorf("natsbus: stream %s: DedupeWindow %v: want at least 100ms, the server's smallest", c.Name, c.DedupeWindow)
	}
	if c.MaxAge > 0 && c.MaxAge < c.DedupeWindow {
		return fmt.Errorf("natsbus: stream %s: MaxAge %v is less than DedupeWindow %v", c.Name, c.MaxAge, c.DedupeWindow)
	}
	return nil
}

func (c StreamConfig) server(replicas int, subjects []string) jetstream.StreamConfig {
	config := jetstream.StreamConfig{
		Name:      c.Name,
		Subjects:  subjects,
		Retention: jetstream.LimitsPolicy,
		Storage:   jetstream.FileStorage,
		// A full stream tells the Publisher, which waits. Dropping the oldest would lose what no
		// consumer has read yet, and tell nobody.
		Discard:     jetstream.DiscardNew,
		MaxAge:      max(c.MaxAge, 0),
		MaxBytes:    max(c.MaxBytes, -1),
		Duplicates:  c.DedupeWindow,
		Compression: jetstream.S2Compression,
		Replicas:    replicas,
		AllowDirect: true,
	}
	if c.Uncompressed {
		config.Compression = jetstream.NoCompression
	}
	return config
}
