package chaos

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// recordsPerKill is the number of records published between two kills.
const recordsPerKill = 150

// TestKillAnything kills the archiver, ClickHouse and NATS at random. In the end each published record is stored
// once, in order, and two bad ones are dead letters, once each.
func TestKillAnything(t *testing.T) {
	short.Skip(t)
	rng := rand.New(rand.NewPCG(*seed, 1))
	c := newCluster(t)
	var plan []func()
	for range *kills {
		plan = append(plan, c.killArchiver, c.killDB, c.killBus)
	}
	rng.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })

	recs := sinktest.Records(*seed, recordsPerKill*(len(plan)+1))
	publish := make(chan []marketprism.Record, len(plan)+1)
	published := make(chan error, 1)
	publisher := c.publisher()
	go func() { published <- c.publishAll(publisher, publish, refused(recs[0].Instrument)) }()
	chunks := slices.Collect(slices.Chunk(recs, recordsPerKill))
	for i, kill := range plan {
		publish <- chunks[i]
		c.waitForWork(rng)
		kill()
	}
	publish <- chunks[len(plan)]
	close(publish)
	require.NoError(t, <-published)
	c.drain()
	c.restartIdle()
	require.NoError(t, c.archiver.stop())

	c.requireStored(recs)
	c.requireDeadLetters(2)
	t.Logf("seed %d: %d kills of each of archiver, ClickHouse and NATS; %d records stored once each; %d INSERTs of %d rows confirmed, "+
		"%d tried again, %d redelivered records found stored, %d fences, 2 dead letters",
		*seed, *kills, len(recs), c.count("inserted events"), c.count("inserted"), c.count("retried events"), c.count("skipped"), c.count("fenced events"))
}

// restartIdle restarts the archiver when nothing is left to store.
func (c *cluster) restartIdle() {
	before := c.count("realigned events")
	c.killArchiver()
	require.Eventually(c.t, func() bool { return c.count("realigned events") >= before+2 }, time.Minute, 5*time.Millisecond)
	c.drain()
}

// waitForWork returns at a random moment of the archiver's work: after up to three INSERTs, if there are that
// many, and a random time.
func (c *cluster) waitForWork(rng *rand.Rand) {
	for range rng.IntN(4) {
		select {
		case <-c.said:
		case <-time.After(300 * time.Millisecond):
		}
	}
	<-time.After(time.Duration(rng.IntN(30_000)) * time.Microsecond)
}

// publishAll publishes the chunks, and within the second one bad, which the store never accepts, and a message
// that is not a record.
func (c *cluster) publishAll(publisher *natsbus.Publisher, chunks <-chan []marketprism.Record, bad marketprism.Record) error {
	for n := 0; ; n++ {
		chunk, more := <-chunks
		if !more {
			return nil
		}
		if n == 1 {
			half := len(chunk) / 2
			chunk = slices.Concat(chunk[:half], []marketprism.Record{bad}, chunk[half:])
			if err := c.publishGarbage(bad.Instrument); err != nil {
				return err
			}
		}
		if err := publisher.Write(c.t.Context(), chunk); err != nil {
			return err
		}
	}
}

func (c *cluster) publisher() *natsbus.Publisher {
	p, err := natsbus.NewPublisher(c.js, natsbus.PublisherConfig{
		RetryMin: 5 * time.Millisecond, RetryMax: 50 * time.Millisecond, AckTimeout: time.Second,
	})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = p.Close() })
	return p
}

// refused returns a record from before 1970, which the store rejects.
func refused(i marketprism.Instrument) marketprism.Record {
	at := time.Now()
	return marketprism.Record{Instrument: i, EventTime: at, ReceivedAt: time.Unix(-1, 0), Trade: &marketprism.Trade{ID: 1, Price: 1, Quantity: 1, TradeTime: at}}
}

func (c *cluster) publishGarbage(i marketprism.Instrument) error {
	msg := nats.NewMsg(natsbus.Subject(natsbus.DefaultPrefix, i, marketprism.KindUpdate))
	msg.Data = []byte("garbage")
	msg.Header.Set(nats.MsgIdHdr, "garbage")
	for {
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		_, err := c.js.PublishMsg(ctx, msg)
		cancel()
		if err == nil || c.t.Context().Err() != nil {
			return err
		}
	}
}

// requireDeadLetters checks that there are n dead letters, of different messages.
func (c *cluster) requireDeadLetters(n int) {
	sequences := make(map[string]bool)
	for letter, err := range deadletter.New(c.js, natsbus.DeadLettersStream("")).List(c.t.Context(), deadletter.Filter{}) {
		require.NoError(c.t, err)
		require.NotContains(c.t, sequences, letter.Subject)
		sequences[letter.Subject] = true
	}
	require.Len(c.t, sequences, n)
	require.GreaterOrEqual(c.t, c.count("deadlettered"), n-1, "a kill may come between the dead letter and its line of output")
}
