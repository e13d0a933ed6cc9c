package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/bench"
	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
)

// asBot is the environment variable that makes this program a bot, with its work as JSON.
const asBot = "MARKETPRISM_BENCH_BUS_BOT"

// books are the options of the measurement of a bot's books.
type books struct {
	Symbols int
	Rate    float64       // updates a second of each
	Levels  int           // of each side of a book
	Warm    time.Duration // for which updates flow before the bots start
	Bots    int
	Stay    time.Duration // until a bot reports its memory

	URL string // of the server, for the bots
}

// A readyReport is what a bot has measured.
type readyReport struct {
	Ready   time.Duration // from Run until all books are synced
	CPU     time.Duration // until then
	Applied uint64        // updates until then
	Memory  uint64        // of the process at most, in bytes
}

// runBooks publishes the updates of many symbols as a collector does, with its snapshots, and starts bots beside each other
// that build all books from the bus.
func runBooks(ctx context.Context, opt books, out io.Writer) (err error) {
	url, _, stop, err := startServer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	opt.URL = url
	js, err := connect(ctx, url)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	if err := ensureStreams(ctx, js); err != nil {
		return err
	}
	publishing, end := context.WithCancel(ctx)
	published := make(chan error, 1)
	go func() { published <- publishBooks(publishing, js, opt) }()
	defer func() {
		end()
		err = errors.Join(err, <-published)
	}()
	select {
	case <-time.After(opt.Warm):
	case err := <-published:
		published <- nil
		return err
	}
	stats, err := natsbus.ReadStreamStats(ctx, js, natsbus.BooksStream(""))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d symbols, %.1f updates/s each, %d levels a side; %d messages and %d MB in the stream\n\n",
		opt.Symbols, opt.Rate, opt.Levels, stats.Messages, stats.Bytes>>20)
	fmt.Fprintln(out, "| bot | all books synced after | CPU until then | memory | updates applied |\n|---|---:|---:|---:|---:|")
	return startBots(ctx, opt, out)
}

// startBots starts the bots at once, each as a process of its own, and prints what they report.
func startBots(ctx context.Context, opt books, out io.Writer) error {
	work, err := json.Marshal(opt)
	if err != nil {
		return err
	}
	outs := make([]io.Reader, opt.Bots)
	for i := range outs {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), asBot+"="+string(work)), os.Stderr
		if outs[i], err = cmd.StdoutPipe(); err == nil {
			err = cmd.Start()
		}
		if err != nil {
			return err
		}
		defer func() { _ = cmd.Wait() }()
	}
	for i := range outs {
		var r readyReport
		if err := json.NewDecoder(outs[i]).Decode(&r); err != nil {
			return fmt.Errorf("bot %d: %w", i+1, err)
		}
		fmt.Fprintf(out, "| %d | %.2f s | %.2f s | %d MB | %d |\n", i+1, r.Ready.Seconds(), r.CPU.Seconds(), r.Memory>>20, r.Applied)
	}
	return nil
}

// publishBooks publishes updates of all symbols in turn, at the rate, until ctx ends.
func publishBooks(ctx context.Context, js jetstream.JetStream, opt books) error {
	publisher, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
	if err != nil {
		return err
	}
	defer publisher.Close()
	dst, err := bookfeed.NewSnapshots(publisher, bookfeed.SnapshotsConfig{})
	if err != nil {
		return err
	}
	instruments := opt.instruments()
	streams := make([]*eventgen.Stream, len(instruments))
	recs := make([]marketprism.Record, 0, len(instruments))
	for i := range streams {
		streams[i] = eventgen.NewStream(eventgen.Config{Levels: opt.Levels, Seed: uint64(i)})
		recs = append(recs, marketprism.Record{Instrument: instruments[i], ReceivedAt: time.Now().UTC(), Snapshot: &streams[i].Snapshot})
	}
	const tick = 20 * time.Millisecond
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for at, due := 0, 0.0; ; {
		if err := dst.Write(ctx, recs); err != nil {
			return ended(ctx, err)
		}
		recs = recs[:0]
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return nil
		}
		for due += opt.Rate * float64(len(streams)) * tick.Seconds(); due >= 1; due-- {
			u := streams[at].Next()
			recs = append(recs, marketprism.Record{Instrument: instruments[at], EventTime: u.EventTime, ReceivedAt: time.Now().UTC(), Update: &u})
			at = (at + 1) % len(streams)
		}
	}
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (opt books) instruments() []marketprism.Instrument {
	all := make([]marketprism.Instrument, opt.Symbols)
	for i := range all {
		all[i] = marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: fmt.Sprintf("T%04dUSDT", i)}
	}
	return all
}

// bot builds all books, and reports what that took to standard output.
func bot(ctx context.Context, work string) error {
	var opt books
	if err := json.Unmarshal([]byte(work), &opt); err != nil {
		return err
	}
	js, err := connect(ctx, opt.URL)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	feed, err := bookfeed.New(js, bookfeed.Config{Instruments: opt.instruments()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	start, before := time.Now(), bench.CPUUsed()
	done := make(chan error, 1)
	go func() { done <- feed.Run(ctx) }()
	if err := feed.Ready(ctx); err != nil {
		return err
	}
	r := readyReport{Ready: time.Since(start), CPU: bench.CPUUsed().Minus(before).Total()}
	for _, i := range feed.Instruments() {
		status, _ := feed.Status(i)
		r.Applied += status.Sync.Applied
	}
	select {
	case <-time.After(opt.Stay):
	case <-ctx.Done():
	}
	if err := feed.Ready(ctx); err != nil { // they are still
		return err
	}
	r.Memory = peakMemory()
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	cancel()
	return <-done
}

// peakMemory returns the most memory that this process has had, 0 where Linux does not say.
func peakMemory() (bytes uint64) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			_, _ = fmt.Sscanf(rest, "%d", &bytes)
		}
	}
	return bytes << 10
}
