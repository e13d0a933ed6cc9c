package chaos

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/natsbus"
)

// A cluster holds the processes of an archive, and the test's connections to them.
type cluster struct {
	t *testing.T

	bus      *child
	busDir   string
	busPort  int
	busURL   string
	db       *chserver.Server
	archiver *child

	js jetstream.JetStream

	mu     sync.Mutex
	events map[string]int // of the archivers, by event: number of records
	said   chan struct{}  // of one element, full after an INSERT
}

func newCluster(t *testing.T) *cluster {
	chtest.Require(t)
	c := &cluster{t: t, busDir: t.TempDir(), events: make(map[string]int), said: make(chan struct{}, 1)}
	c.startBus()
	c.db = chtest.Start(t, chserver.Config{})
	js, err := connect(t.Context(), c.busURL)
	require.NoError(t, err)
	t.Cleanup(js.Conn().Close)
	require.NoError(t, natsbus.EnsureStreams(t.Context(), js, natsbus.StreamsConfig{}))
	c.js = js
	c.startArchiver()
	return c
}

func (c *cluster) startBus() {
	line := make(chan string, 1)
	c.bus = start(c.t, func(l string) { line <- l }, "nats", c.busDir, c.busPort)
	select {
	case l := <-line:
		_, err := fmt.Sscan(l, &c.busURL, &c.busPort)
		require.NoError(c.t, err)
	case <-c.bus.heard:
		c.t.Fatalf("no NATS: %s", c.bus.kill())
	}
}

func (c *cluster) startArchiver() {
	c.archiver = start(c.t, c.hear, "archiver", c.busURL, c.db.DSN())
}

// hear counts an event of an archiver.
func (c *cluster) hear(line string) {
	event, number, _ := strings.Cut(line, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		c.t.Errorf("an archiver printed %q", line)
	}
	c.mu.Lock()
	c.events[event] += n
	c.events[event+" events"]++
	c.mu.Unlock()
	if event == "inserted" {
		select {
		case c.said <- struct{}{}:
		default:
		}
	}
}

func (c *cluster) count(event string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events[event]
}

func (c *cluster) killBus() {
	c.bus.kill()
	c.startBus()
}

func (c *cluster) killDB() {
	c.db.Crash()
	c.db = chtest.Start(c.t, c.db.Config())
}

func (c *cluster) killArchiver() {
	require.Empty(c.t, c.archiver.kill(), "it failed before it was killed")
	c.startArchiver()
}

// drain blocks until the archiver has acknowledged every message.
func (c *cluster) drain() {
	for _, stream := range []string{natsbus.BooksStream(""), natsbus.TradesStream("")} {
		require.Eventually(c.t, func() bool {
			consumer, err := c.js.Consumer(c.t.Context(), stream, durable)
			if err != nil {
				return false
			}
			info := consumer.CachedInfo()
			return info.NumPending == 0 && info.NumAckPending == 0
		}, time.Minute, 20*time.Millisecond, "records of %s are left", stream)
	}
}
