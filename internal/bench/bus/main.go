// Bus compares the cost of natsbus with that of nats.go doing the same work by hand: with the same server (a
// separate process), bodies, window and acknowledgements. The sides take turns. On a machine that does other work
// too, the CPU time of this process is the steadiest figure.
//
//	go run ./internal/bench/bus                   # 5 rounds of 50,000 records a side
//	go run ./internal/bench/bus -records 5000 -rounds 2
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/natsbus"
)

// asServer is the environment variable that makes this program the NATS server, with the folder of its data.
const asServer = "MARKETPRISM_BENCH_BUS_SERVER"

type options struct{ records, rounds int }

func main() {
	if dir := os.Getenv(asServer); dir != "" {
		exit(serve(dir))
	}
	var opt options
	flag.IntVar(&opt.records, "records", 50_000, "records of one round of one side, a multiple of 1000")
	flag.IntVar(&opt.rounds, "rounds", 5, "measured rounds, after one to warm up")
	flag.Parse()
	if opt.records < batch || opt.records%batch != 0 || opt.rounds < 1 {
		exit(fmt.Errorf("-records %d, -rounds %d: want a multiple of %d, and 1 or more", opt.records, opt.rounds, batch))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, opt, os.Stdout)
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

// serve runs the server until standard input ends, as it does when the parent ends.
func serve(dir string) error {
	server, err := natsserver.Start(natsserver.Config{StoreDir: dir})
	if err != nil {
		return err
	}
	defer server.Close()
	fmt.Println(server.URL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startServer starts this program again as the server.
func startServer() (url string, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "bench-bus-")
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), asServer+"="+dir), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop = func() error { return errors.Join(in.Close(), cmd.Wait(), os.RemoveAll(dir)) }
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("the server did not start: %w", err), stop())
	}
	return strings.TrimSpace(line), stop, nil
}

func run(ctx context.Context, opt options, out io.Writer) (err error) {
	url, stop, err := startServer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	conn, err := natsbus.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	streams := natsbus.StreamsConfig{Books: natsbus.StreamConfig{MaxBytes: 7 << 30}}
	if err := natsbus.EnsureStreams(ctx, js, streams); err != nil {
		return err
	}
	publishing, err := measure(ctx, opt, publishers(js))
	if err != nil {
		return err
	}
	consuming, err := measure(ctx, opt, consumers(js))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "| what | records/s | client CPU µs/record | rate beside it: min, median, max | CPU beside it: median |")
	fmt.Fprintln(out, "|---|---:|---:|---:|---:|")
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
		fmt.Fprintf(out, "| %s | %.0f | %.2f | %s |\n", s.name, median(each(s.rounds, func(r round) float64 { return r.rate })),
			median(each(s.rounds, func(r round) float64 { return r.cpu })), beside)
	}
}
