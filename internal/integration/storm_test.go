package integration

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
)

var (
	kills = flag.Int("kills", 24, "number of kills of TestKillStorm")
	seed  = flag.Uint64("seed", 1, "seed of the times of the kills")
)

// stormStreams are the streams that the consumer reads, each into a file of that name.
var stormStreams = []string{natsbus.BooksStream(""), natsbus.TradesStream("")}

// runPublisher publishes records First to Last and prints "accepted n" when all before n are stored.
func runPublisher(ctx context.Context, cfg childConfig) error {
	js, err := connect(ctx, cfg.URL)
	if err != nil {
		return err
	}
	p, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{
		MaxPending: 1024, RetryMin: 10 * time.Millisecond, RetryMax: 200 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(cfg.Seed, 1))
	for first := cfg.First; first < cfg.Last; {
		last := min(first+1+rng.IntN(800), cfg.Last)
		if err := p.Write(ctx, stormRecords(first, last)); err != nil {
			return err
		}
		first = last
		fmt.Println("accepted", first)
	}
	return nil
}

// runConsumer writes the streams to files and prints "stored n", the number of records in all of them.
func runConsumer(ctx context.Context, cfg childConfig) error {
	js, err := connect(ctx, cfg.URL)
	if err != nil {
		return err
	}
	var (
		said   sync.Mutex
		total  int
		ended  = make(chan error, len(stormStreams))
		report = func(more int) {
			said.Lock()
			defer said.Unlock()
			total += more
			fmt.Println("stored", total)
		}
	)
	for _, stream := range stormStreams {
		file, err := openFileSink(filepath.Join(cfg.Dir, stream))
		if err != nil {
			return err
		}
		report(file.n)
		c, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{
			Stream: stream, Durable: "file", Batch: 500, FlushEvery: 20 * time.Millisecond,
			RetryMin: 10 * time.Millisecond, RetryMax: 200 * time.Millisecond,
		})
		if err != nil {
			return err
		}
		go func() { ended <- c.Run(ctx, reporting{file, report}) }()
	}
	for range stormStreams {
		if err := <-ended; ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// reporting is a fileSink that reports how many records each Write added.
type reporting struct {
	*fileSink
	report func(more int)
}

func (r reporting) Write(ctx context.Context, recs []marketprism.Record) error {
	before := r.n
	err := r.fileSink.Write(ctx, recs)
	r.report(r.n - before)
	return err
}

// A storm kills the processes of a pipeline repeatedly.
type storm struct {
	t                   *testing.T
	rng                 *rand.Rand
	dir                 string
	server              *serverProcess
	publisher, consumer *child
	accepted, stored    int
	records             int

	// The numbers of records, accepted or for the consumer stored, at which each is killed.
	killServer, killPublisher, killConsumer []int
}

// plan divides n kills among the three, at random positions.
func (s *storm) plan(n int) {
	lists := []*[]int{&s.killServer, &s.killPublisher, &s.killConsumer}
	for i := range n {
		list := lists[i%len(lists)]
		*list = append(*list, s.rng.IntN(s.records))
	}
	for _, list := range lists {
		slices.Sort(*list)
	}
}

// due reports whether the next position of a list is reached, and removes it.
func due(list *[]int, reached int) bool {
	if len(*list) == 0 || (*list)[0] > reached {
		return false
	}
	*list = (*list)[1:]
	return true
}

func (s *storm) startPublisher() {
	s.publisher = start(s.t, childConfig{Role: "publisher", URL: s.server.url, Seed: s.rng.Uint64(), First: s.accepted, Last: s.records})
}

func (s *storm) startConsumer() {
	s.stored = 0 // the new process counts the records in the files
	s.consumer = start(s.t, childConfig{Role: "consumer", URL: s.server.url, Dir: s.dir})
}

func (s *storm) heardPublisher(line string) { s.accepted = parseLine(s.t, line, "accepted") }
func (s *storm) heardConsumer(line string)  { s.stored = parseLine(s.t, line, "stored") }

// rage runs the pipeline, and kills its processes, until every record is stored.
func (s *storm) rage() {
	s.startPublisher()
	s.startConsumer()
	for s.stored < s.records {
		s.listen()
		if due(&s.killServer, s.accepted) {
			s.server.restart()
		}
		if s.accepted < s.records && due(&s.killPublisher, s.accepted) {
			s.publisher.kill(s.heardPublisher)
			s.startPublisher()
		}
		if due(&s.killConsumer, s.stored) {
			s.consumer.kill(s.heardConsumer)
			s.startConsumer()
		}
	}
	s.publisher.end()
}

// settle ends the consumer once it has acknowledged everything: one that was killed late has records in its files
// that the server delivers again.
func (s *storm) settle(js jetstream.JetStream) {
	awaitBus(s.t, js)
	require.Eventually(s.t, func() bool {
		for _, stream := range stormStreams {
			if n, err := unacknowledged(s.t.Context(), js, stream); err != nil || n > 0 {
				return false
			}
		}
		return true
	}, patience, 5*time.Millisecond)
	s.consumer.end()
}

// listen blocks until one of the children prints a line.
func (s *storm) listen() {
	published := s.publisher.lines
	if s.accepted == s.records {
		published = nil // the publisher has ended
	}
	select {
	case line, ok := <-published:
		if !ok {
			s.publisher.end()
			s.t.Fatalf("the publisher has ended at %d", s.accepted)
		}
		s.heardPublisher(line)
	case line, ok := <-s.consumer.lines:
		if !ok {
			s.consumer.end()
			s.t.Fatalf("the consumer has ended at %d", s.stored)
		}
		s.heardConsumer(line)
	case <-time.After(patience):
		s.t.Fatalf("nothing happens: %d accepted, %d stored", s.accepted, s.stored)
	}
}

// TestKillStorm kills publisher, consumer and server at random. Every record is stored exactly once by key, as
// published, and those of each symbol in order.
func TestKillStorm(t *testing.T) {
	short.Skip(t)
	records := min(2_500**kills, 200_000) // enough for the processes to work between kills
	server := startServer(t)
	js, err := connect(t.Context(), server.url)
	require.NoError(t, err)
	t.Cleanup(js.Conn().Close)
	require.NoError(t, natsbus.EnsureStreams(t.Context(), js, natsbus.StreamsConfig{}))

	s := &storm{t: t, rng: rand.New(rand.NewPCG(*seed, 3)), dir: t.TempDir(), server: server, records: records}
	s.plan(*kills)
	began := time.Now()
	s.rage()
	s.settle(js)
	t.Logf("%d records in %v with %d kills, seed %d", records, time.Since(began).Round(time.Second), *kills, *seed)
	if left := len(s.killServer) + len(s.killPublisher) + len(s.killConsumer); left > *kills/4 {
		t.Errorf("%d of %d kills were not done before the end", left, *kills)
	}

	found := make([]bool, records)
	for _, stream := range stormStreams {
		n := checkFile(t, filepath.Join(s.dir, stream), found)
		requireSettled(t, js, stream, n)
	}
	if missing := slices.Index(found, false); missing >= 0 {
		t.Errorf("record %d is not stored", missing)
	}
}

// checkFile checks the records of a file, marks them as found, and returns how many there are.
func checkFile(t *testing.T, path string, found []bool) (n int) {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	last := make(map[string]int) // of each symbol
	var (
		rec     marketprism.Record
		decoder natsbus.Decoder
		want    []byte
	)
	_, err = readFrames(file, func(_ marketprism.Origin, bodies [][]byte) error {
		decoder.Reset()
		for _, body := range bodies {
			if err := decoder.Decode("", body, &rec); err != nil {
				return err
			}
			number, symbol := stormNumber(&rec), rec.Instrument.Symbol
			original := stormRecord(number)
			if want, err = natsbus.AppendRecord(want[:0], &original); err != nil {
				return err
			}
			before, ok := last[symbol]
			switch {
			case !bytes.Equal(want, body):
				return fmt.Errorf("record %d is stored as %s, was published as %s", number, body, want)
			case found[number]:
				return fmt.Errorf("record %d, %s, is stored twice", number, rec.Key())
			case ok && number < before:
				return fmt.Errorf("%s: record %d is stored after %d", symbol, number, before)
			}
			found[number], last[symbol] = true, number
			n++
		}
		return nil
	})
	require.NoError(t, err)
	return n
}

// requireSettled checks that a stream holds n messages and its durable has acknowledged all of them.
func requireSettled(t *testing.T, js jetstream.JetStream, stream string, n int) {
	t.Helper()
	awaitBus(t, js)
	s, err := js.Stream(t.Context(), stream)
	require.NoError(t, err)
	require.EqualValues(t, n, s.CachedInfo().State.Msgs, "%s: stored once each", stream)
	left, err := unacknowledged(t.Context(), js, stream)
	require.NoError(t, err)
	require.Zero(t, left, "%s: all are acknowledged", stream)
}

// unacknowledged returns how many messages of a stream its durable has not acknowledged.
func unacknowledged(ctx context.Context, js jetstream.JetStream, stream string) (int, error) {
	durable, err := js.Consumer(ctx, stream, "file")
	if err != nil {
		return 0, err
	}
	info := durable.CachedInfo()
	return int(info.NumPending) + info.NumAckPending, nil
}
