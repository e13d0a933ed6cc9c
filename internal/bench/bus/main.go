// Bus compares the cost of natsbus with that of nats.go doing the same work by hand: with the same server (a
// separate process), bodies, window and acknowledgements. The sides take turns. On a machine that does other work
// too, the CPU time of this process is the steadiest figure.
//
//	go run ./internal/bench/bus                   # 5 rounds of 50,000 records a side
//	go run ./internal/bench/bus -records 5000 -rounds 2
//
// With -books it measures instead how soon bots have the books of a whole exchange, from a bus to which updates flow, and
// how much memory they take, each in a process of its own.
//
//	go run ./internal/bench/bus -books 1300
//	go run ./internal/bench/bus -books 1300 -rate 4 -levels 1000 -bots 1
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"time"
)

type options struct{ records, symbols, rounds int }

func main() {
	if dir := os.Getenv(asServer); dir != "" {
		exit(serve(dir))
	}
	if work := os.Getenv(asBot); work != "" {
		exit(bot(context.Background(), work))
	}
	var opt options
	var exchange books
	flag.IntVar(&exchange.Symbols, "books", 0, "books that each bot builds; 0 measures publishing and consuming")
	flag.Float64Var(&exchange.Rate, "rate", 1, "updates a second of each book, of 20 to 60 levels")
	flag.IntVar(&exchange.Levels, "levels", 500, "levels of each side of a book")
	flag.DurationVar(&exchange.Warm, "warm", 45*time.Second, "time for which updates flow before the bots start; a book has a snapshot every 30s")
	flag.IntVar(&exchange.Bots, "bots", 2, "bots beside each other")
	flag.DurationVar(&exchange.Stay, "stay", 10*time.Second, "time for which a bot goes on until it reports its memory")
	flag.IntVar(&opt.records, "records", 50_000, "records of one round of one side, a multiple of 1000")
	flag.IntVar(&opt.symbols, "symbols", 50, "symbols of the records, at most 1000")
	flag.IntVar(&opt.rounds, "rounds", 5, "measured rounds, after one to warm up")
	flag.Parse()
	if opt.records < batch || opt.records%batch != 0 || opt.rounds < 1 {
		exit(fmt.Errorf("-records %d, -rounds %d: want a multiple of %d, and 1 or more", opt.records, opt.rounds, batch))
	}
	if opt.symbols < 1 || opt.symbols > batch {
		exit(fmt.Errorf("-symbols %d: want 1 to %d", opt.symbols, batch))
	}
	if exchange.Symbols < 0 || exchange.Rate <= 0 || exchange.Levels < 100 || exchange.Bots < 1 {
		exit(errors.New("want a -rate above 0, -levels of 100 and -bots of 1 at least"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	var err error
	if exchange.Symbols > 0 {
		err = runBooks(ctx, exchange, os.Stdout)
	} else {
		err = run(ctx, opt, os.Stdout)
	}
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, opt options, out io.Writer) (err error) {
	url, server, stop, err := startServer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	js, err := connect(ctx, url)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	if err := ensureStreams(ctx, js); err != nil {
		return err
	}
	publishing, err := measure(ctx, opt, server, publishers(js, opt.symbols))
	if err != nil {
		return err
	}
	consuming, err := measure(ctx, opt, server, consumers(js))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "| what | records/s | client CPU µs/record | server CPU µs/record | rate beside it: min, median, max | CPU beside it: median |")
	fmt.Fprintln(out, "|---|---:|---:|---:|---:|---:|")
	report(out, publishing)
	report(out, consuming)
	encode, decode, err := codecCost()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "| encode a record | %s |\n| decode a record | %s |\n", encode, decode)
	return nil
}

// report prints the sides, each compared with the first.
func report(out io.Writer, sides []result) {
	for i, s := range sides {
		rate, cost := make([]float64, len(s.rounds)), make([]float64, len(s.rounds))
		for r, round := range s.rounds {
			rate[r] = sides[0].rounds[r].rate / round.rate
			cost[r] = round.cpu / sides[0].rounds[r].cpu
		}
		beside := " | "
		if i > 0 {
			slices.Sort(rate)
			beside = fmt.Sprintf("%.2f, %.2f, %.2f | %.2f", rate[0], median(rate), rate[len(rate)-1], median(cost))
		}
		fmt.Fprintf(out, "| %s | %.0f | %.2f | %.2f | %s |\n", s.name, median(each(s.rounds, func(r round) float64 { return r.rate })),
			median(each(s.rounds, func(r round) float64 { return r.cpu })), median(each(s.rounds, func(r round) float64 { return r.server })), beside)
	}
}
