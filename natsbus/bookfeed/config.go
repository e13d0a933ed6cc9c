package bookfeed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/check"
)

// A Config says what a Feed follows. Only Instruments has to be set.
type Config struct {
	Prefix string // of the subjects; "" means natsbus.DefaultPrefix
	Stream string // "" means the name that natsbus.BooksStream gives

	// Instruments are followed by one consumer of the server each. A server takes 1000 a stream, of all
	// feeds together, unless its max_consumers says otherwise; beyond, a feed waits for room.
	Instruments []marketprism.Instrument

	// Handler receives the Snapshot, Update and Gap records that the books consist of, one call at a
	// time; nil means none. The record and what it points to are valid until it returns. Those of the
	// time before the book has caught up with the stream come as well, as they make up the book. It may
	// call View and Status, which show the book with all that came together. An error it returns stops
	// Run. ReceivedAt and Origin are those of the message that brought the record about.
	//
	// ctx has the values of Run's context and ends five seconds after it, so that the handler can finish
	// the current record and the Gap records that end every synced book.
	Handler func(ctx context.Context, rec *marketprism.Record) error

	// MaxDepth bounds the levels of a side of a book. 0 means 10,000, negative means no bound.
	MaxDepth int
	// MaxPending and MaxPendingBytes bound the updates of an instrument that wait for a snapshot. 0 means 4096
	// updates and 16 MiB.
	MaxPending      int
	MaxPendingBytes int
	// MaxStale is how many updates in a row may be before the book's id until the venue's ids are taken to have gone
	// back. 0 means 512, negative means any number.
	MaxStale int

	// Lookback is how far before the last snapshot the reading begins, by the clock of the server: with
	// several collectors the updates that follow a snapshot may be stored before it. 0 means 5 s,
	// negative means at the snapshot.
	Lookback time.Duration

	// CatchUp is how long a book may be behind a snapshot on the bus, whose updates another collector may still
	// publish, until the feed continues from the snapshot. 0 means 1 s.
	CatchUp time.Duration

	// RetryMin and RetryMax bound the random delay before the server is asked again after a failure: its
	// bound doubles from the first to the second. 0 means 200 ms and 30 s.
	RetryMin, RetryMax time.Duration

	Hooks *Hooks // nil means none
}

func (cfg Config) withDefaults() (Config, error) {
	defaults.Set(&cfg.Prefix, natsbus.DefaultPrefix)
	if err := check.Prefix(cfg.Prefix); err != nil {
		return cfg, fmt.Errorf("bookfeed: %w", err)
	}
	defaults.Set(&cfg.Stream, natsbus.BooksStream(cfg.Prefix))
	if err := check.Names("Stream", cfg.Stream); err != nil {
		return cfg, fmt.Errorf("bookfeed: %w", err)
	}
	if len(cfg.Instruments) == 0 {
		return cfg, errors.New("bookfeed: Instruments is empty")
	}
	seen := make(map[marketprism.Instrument]bool, len(cfg.Instruments))
	for _, instrument := range cfg.Instruments {
		if seen[instrument] {
			return cfg, fmt.Errorf("bookfeed: Instruments: %s is named twice", instrument)
		}
		seen[instrument] = true
	}
	defaults.Set(&cfg.Lookback, 5*time.Second)
	defaults.Set(&cfg.CatchUp, time.Second)
	if cfg.CatchUp < 0 {
		return cfg, fmt.Errorf("bookfeed: CatchUp %v: want a positive time", cfg.CatchUp)
	}
	defaults.Set(&cfg.MaxDepth, 10_000)
	if cfg.Hooks == nil {
		cfg.Hooks = &Hooks{}
	}
	if err := check.Retry(&cfg.RetryMin, &cfg.RetryMax, 200*time.Millisecond, 30*time.Second); err != nil {
		return cfg, fmt.Errorf("bookfeed: %w", err)
	}
	return cfg, nil
}
