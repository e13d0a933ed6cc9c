// Store measures the archive with a ClickHouse server that it starts and removes.
//
//	go run ./internal/bench/store
//	go run ./internal/bench/store -rows 100000 -day 1h
//
// It prints one table:
//
//   - rows a second into the tables of depth updates and of trades by chstore.Store.Write, compared with ch-go
//     with columns filled by hand, which inserts the same rows into a table of the same definition. The two take
//     turns, batch by batch, and at the end both tables must be equal. On a machine that does other work too,
//     the client's CPU time per row and the ratio of the two remain comparable.
//   - bytes of a changed level on disk, over all columns, compared with the exchange's JSON in a table with
//     ZSTD(1), both merged to one part.
//   - the latency of Store.BookAt at random moments of a day of a busy symbol, with ten updates of 20 to 60
//     levels a second and a snapshot of 1000 levels a side every minute; the speed of Store.Records and of
//     Store.Replay; and BookAt again with an hour of each of 29 earlier days beside the day. The times of the
//     records are generated, so the day takes only the time to write it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/marketprism/marketprism/internal/chserver"
)

type options struct {
	rows, batch int
	day         time.Duration
	books       int
	profile     string
}

func main() {
	chserver.Main()
	var opt options
	flag.IntVar(&opt.rows, "rows", 200_000, "rows to write into each table, each way")
	flag.IntVar(&opt.batch, "batch", 20_000, "rows of one INSERT")
	flag.DurationVar(&opt.day, "day", 24*time.Hour, "market time to archive for reading")
	flag.IntVar(&opt.books, "books", 200, "random moments at which to read the book")
	flag.StringVar(&opt.profile, "cpuprofile", "", "file for a CPU profile of the client")
	flag.Parse()
	if err := opt.check(); err != nil {
		fmt.Fprintln(os.Stderr, "store:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := profiled(opt.profile, func() error { return run(ctx, opt, os.Stdout) }); err != nil {
		fmt.Fprintln(os.Stderr, "store:", err)
		os.Exit(1)
	}
}

func (o *options) check() error {
	switch {
	case o.batch < 1 || o.rows < 2*o.batch:
		return errors.New("want a -batch of 1 and -rows of two batches at least: the first one warms up")
	case o.day < time.Minute || o.books < 1:
		return errors.New("want a -day of 1m and -books of 1 at least")
	}
	return nil
}

// run measures, and prints the results as a table in Markdown.
func run(ctx context.Context, opt options, out io.Writer) (err error) {
	b, err := open(ctx, opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	depth, err := b.compareWrites(ctx, "depth_events", newDepthFeed(), newDepthColumns())
	if err != nil {
		return err
	}
	trades, err := b.compareWrites(ctx, "trades", newTradeFeed(), newTradeColumns())
	if err != nil {
		return err
	}
	size, err := b.measureSize(ctx)
	if err != nil {
		return err
	}
	day, err := b.measureDay(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "| measure | chstore | beside it | ratio |")
	fmt.Fprintln(out, "|---|---:|---:|---:|")
	depth.print(out, "depth updates")
	trades.print(out, "trades")
	size.print(out)
	day.print(out)
	return nil
}
