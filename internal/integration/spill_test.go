package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// peek decodes a record without levels.
func peek(data []byte, r *marketprism.Record) error {
	d := natsbus.Decoder{SkipLevels: true}
	return d.Decode("", data, r)
}

// newSpill returns a Spill in a folder before a Publisher on a server that may be unreachable.
func newSpill(url, dir string, set func(*sink.SpillConfig)) (*sink.Spill, func(), error) {
	nc, err := nats.Connect(url, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // as in connect
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, err
	}
	p, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{RetryMin: 10 * time.Millisecond, RetryMax: 100 * time.Millisecond})
	if err != nil {
		return nil, nil, err
	}
	cfg := sink.SpillConfig{
		Dir: dir, Encode: natsbus.AppendRecord, Decode: natsbus.DecodeRecord, Peek: peek, SyncInterval: -1,
		DirectTimeout: 200 * time.Millisecond, RetryMin: 10 * time.Millisecond, RetryMax: 100 * time.Millisecond,
		WriteTimeout: 2 * time.Second,
	}
	set(&cfg)
	s, err := sink.NewSpill(p, cfg)
	return s, func() { p.Close(); nc.Close() }, err
}

// runSpiller writes records First to Last to a Spill. It prints "accepted n" when all before n are accepted,
// "spilling 1" when it begins to write to disk, "drained n" when n records from disk are on the bus, and
// "flushed n" when all are.
func runSpiller(ctx context.Context, cfg childConfig) error {
	s, _, err := newSpill(cfg.URL, cfg.Dir, func(c *sink.SpillConfig) {
		c.MaxBatch, c.SegmentBytes = 200, 100_000
		c.Hooks = &sink.SpillHooks{
			Spilling: func(sink.SpillingInfo) { fmt.Println("spilling 1") },
			Drained:  func(i sink.WrittenInfo) { fmt.Println("drained", i.Records) },
		}
	})
	if err != nil {
		return err
	}
	go func() { _ = s.Run(ctx) }()
	for first := cfg.First; first < cfg.Last; {
		last := min(first+20, cfg.Last)
		if err := s.Write(ctx, stormRecords(first, last)); err != nil {
			return err
		}
		first = last
		fmt.Println("accepted", first)
		if err := backoff.Sleep(ctx, time.Millisecond); err != nil { // the rate of the feed
			return err
		}
	}
	if err := s.Flush(ctx); err != nil {
		return err
	}
	fmt.Println("flushed", cfg.Last)
	<-ctx.Done()
	return nil
}

// A spiller is a running child of that role.
type spiller struct {
	*child
	accepted int
}

func (s *spiller) hear(line string) (word string) {
	var n int
	if _, err := fmt.Sscanf(line, "%s %d", &word, &n); err != nil {
		s.t.Fatalf("the spiller printed %q", line)
	}
	if word == "accepted" {
		s.accepted = n
	}
	return word
}

// until reads lines until the child prints word.
func (s *spiller) until(word string) {
	s.t.Helper()
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				_ = s.cmd.Wait()
				s.t.Fatalf("the spiller has ended:\n%s", s.stderr.String())
			}
			if s.hear(line) == word {
				return
			}
		case <-time.After(patience):
			s.t.Fatalf("the spiller does not print %s", word)
		}
	}
}

func (s *spiller) die() { s.kill(func(line string) { s.hear(line) }) }

// restart starts the child again, after the accepted records.
func (s *spiller) restart(more int) {
	s.cfg.First, s.cfg.Last = s.accepted, s.accepted+more
	s.child = start(s.t, s.cfg)
}

// The server stops and returns. The spilling process is killed while the server is down, restarts while it is
// still down, and is killed again while it drains the queue. Every accepted record is on the bus once, in order.
func TestSpillBeforeTheBusSurvivesKills(t *testing.T) {
	short.Skip(t)
	server := startServer(t)
	js, err := connect(t.Context(), server.url)
	require.NoError(t, err)
	t.Cleanup(js.Conn().Close)
	require.NoError(t, natsbus.EnsureStreams(t.Context(), js, natsbus.StreamsConfig{}))
	const endless = 1_000_000
	s := &spiller{}
	s.child = start(t, childConfig{Role: "spiller", URL: server.url, Dir: t.TempDir(), Last: endless})
	for range 20 {
		s.until("accepted")
	}
	server.stop()
	s.until("spilling")
	for range 100 {
		s.until("accepted")
	}
	s.die()
	s.restart(2000) // with the server away
	for s.accepted < s.cfg.Last {
		s.until("accepted")
	}
	server.resume()
	s.until("drained")
	s.die()
	s.restart(1000)
	s.until("flushed")
	s.end()

	requireOnBus(t, js, s.cfg.Last)
}

// busRecords returns the records of a stream, in order.
func busRecords(t *testing.T, js jetstream.JetStream, stream string) (recs []marketprism.Record) {
	t.Helper()
	awaitBus(t, js)
	s, err := js.Stream(t.Context(), stream)
	require.NoError(t, err)
	c, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	require.NoError(t, err)
	n := int(s.CachedInfo().State.Msgs)
	if n == 0 {
		return nil
	}
	messages, err := c.Messages()
	require.NoError(t, err)
	defer messages.Stop()
	for range n {
		msg, err := messages.Next(jetstream.NextMaxWait(patience))
		require.NoError(t, err)
		var rec marketprism.Record
		require.NoError(t, natsbus.DecodeRecord(msg.Data(), &rec))
		recs = append(recs, rec)
	}
	return recs
}

// bookRecord returns the snapshot or the update of a book at an id.
func bookRecord(symbol string, id int64, snapshot bool, levels int) marketprism.Record {
	rec := marketprism.Record{
		Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: symbol},
		ReceivedAt: time.UnixMilli(1_750_000_000_000 + id).UTC(),
	}
	bids := make([]orderbook.Level, levels)
	for i := range bids {
		bids[i] = orderbook.Level{Price: orderbook.Fixed(levels-i) * orderbook.One, Quantity: orderbook.One}
	}
	if snapshot {
		rec.Snapshot = &orderbook.Snapshot{LastID: id, Bids: bids}
	} else {
		rec.EventTime = rec.ReceivedAt
		rec.Update = &orderbook.Update{FirstID: id, LastID: id, EventTime: rec.EventTime, Bids: bids}
	}
	return rec
}

// summary returns the records of a symbol in short, such as "snap 1", "depth 2" and "gap 2 overflow".
func summary(recs []marketprism.Record, symbol string) (lines []string) {
	for _, r := range recs {
		switch {
		case r.Instrument.Symbol != symbol:
		case r.Gap != nil:
			lines = append(lines, fmt.Sprintf("gap %d %v", r.Gap.After, r.Gap.Reason))
		case r.Snapshot != nil:
			lines = append(lines, fmt.Sprintf("snap %d", r.Snapshot.LastID))
		default:
			lines = append(lines, fmt.Sprintf("depth %d", r.Update.LastID))
		}
	}
	return lines
}

// spillOnBus runs a Spill before a bus until the test ends.
func spillOnBus(t *testing.T, set func(*sink.SpillConfig)) (*sink.Spill, *natsserver.Server, jetstream.JetStream) {
	t.Helper()
	server := natstest.Start(t)
	js := natstest.JetStream(t, server, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	require.NoError(t, natsbus.EnsureStreams(t.Context(), js, natsbus.StreamsConfig{}))
	s, disconnect, err := newSpill(server.URL(), t.TempDir(), set)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, s.Close())
		disconnect()
	})
	return s, server, js
}

func TestSpillThatIsFullShowsAsAGapOnTheBus(t *testing.T) {
	var dropped []int64
	s, server, js := spillOnBus(t, func(c *sink.SpillConfig) {
		c.MaxBytes, c.Overflow = 4000, sink.DropNewest
		c.Hooks = &sink.SpillHooks{Dropped: func(i sink.DroppedInfo) { dropped = append(dropped, i.Record.Update.LastID) }}
	})
	write := func(rec marketprism.Record) {
		require.NoError(t, s.Write(t.Context(), []marketprism.Record{rec}))
	}
	write(bookRecord("A", 1, true, 3))
	require.NoError(t, s.Flush(t.Context())) // a slow bus makes it spill
	want := []string{"snap 1"}
	require.Equal(t, want, summary(busRecords(t, js, natsbus.BooksStream("")), "A"))
	_ = server.Close()
	id := int64(2)
	for ; len(dropped) < 5; id++ {
		require.Less(t, id, int64(1000), "the queue is never full")
		write(bookRecord("A", id, false, 1))
	}
	for kept := int64(2); kept < dropped[0]; kept++ {
		want = append(want, fmt.Sprintf("depth %d", kept))
	}
	for i, lost := range dropped {
		require.Equal(t, dropped[0]+int64(i), lost, "nothing after the gap is kept")
	}
	want = append(want, fmt.Sprintf("gap %d overflow", dropped[0]-1))
	natstest.StartConfig(t, server.Config())
	require.NoError(t, s.Flush(t.Context()))
	write(bookRecord("A", id, true, 3))
	write(bookRecord("A", id+1, false, 1))
	require.NoError(t, s.Flush(t.Context()))
	want = append(want, fmt.Sprintf("snap %d", id), fmt.Sprintf("depth %d", id+1))
	require.Equal(t, want, summary(busRecords(t, js, natsbus.BooksStream("")), "A"))
	require.EqualValues(t, len(dropped), s.Stats().Dropped[marketprism.KindUpdate])
}

// A Spill omits a record that is too large for the bus, and no other.
func TestSpillOmitsRecordTooLargeForTheBus(t *testing.T) {
	var refused []string
	s, _, js := spillOnBus(t, func(c *sink.SpillConfig) {
		c.DirectTimeout = -1
		c.Hooks = &sink.SpillHooks{Refused: func(i sink.SpillRefusedInfo) {
			if errors.Is(i.Err, natsbus.ErrTooLarge) {
				refused = append(refused, i.Record.Key())
			}
		}}
	})
	large := bookRecord("A", 3, false, 200_000)
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{
		bookRecord("A", 1, true, 3), bookRecord("B", 1, true, 3), bookRecord("A", 2, false, 1), bookRecord("B", 2, false, 1),
		large,
		bookRecord("B", 3, false, 1), bookRecord("A", 4, false, 1), bookRecord("A", 5, true, 3), bookRecord("A", 6, false, 1),
	}))
	require.NoError(t, s.Flush(t.Context()))
	require.Equal(t, []string{large.Key()}, refused)
	recs := busRecords(t, js, natsbus.BooksStream(""))
	require.Equal(t, []string{"snap 1", "depth 2", "gap 2 invalid", "snap 5", "depth 6"}, summary(recs, "A"))
	require.Equal(t, []string{"snap 1", "depth 2", "depth 3"}, summary(recs, "B"))
}
