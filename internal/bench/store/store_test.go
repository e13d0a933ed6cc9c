package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
)

func TestMain(m *testing.M) { chtest.Main(m) }

// A short run measures everything, and stores the same both ways.
func TestShortRun(t *testing.T) {
	short.Skip(t)
	chtest.Require(t)
	var out strings.Builder
	opt := options{rows: 600, batch: 200, day: 2 * time.Minute, books: 5}
	if err := opt.check(); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), opt, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`depth updates, rows/s.* \| [1-9]\d* \| [1-9]\d* \|`, `trades, rows/s.* \| [1-9]\d* \| [1-9]\d* \|`,
		`bytes a level on disk.* \| \d+\.\d\d \| \d+\.\d\d \|`,
		`BookAt p50 / p99, 5 moments among 1200 updates and 2 snapshots \| \d`,
		`2 snapshots, with 29 days more \| \d`, `Records, updates/s \| [1-9]`, `Replay, updates/s \| [1-9]`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %s in\n%s", want, &out)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, opt := range []options{
		{rows: 100, batch: 0, day: time.Hour, books: 1}, {rows: 100, batch: 51, day: time.Hour, books: 1},
		{rows: 100, batch: 10, day: time.Second, books: 1}, {rows: 100, batch: 10, day: time.Hour},
	} {
		if opt.check() == nil {
			t.Errorf("%+v is accepted", opt)
		}
	}
}
