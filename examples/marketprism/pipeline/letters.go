package pipeline

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
)

// lettersEvery is how often the stream of dead letters is asked how many there are.
const lettersEvery = 2 * time.Second

// letters are the dead letters of the bus: all there are, whichever process set them aside.
type letters struct {
	js     jetstream.StreamManager
	stream string
	work   *deadletter.Queue
	count  atomic.Uint64 // a moment ago
}

func newLetters(js jetstream.JetStream) *letters {
	stream := natsbus.DeadLettersStream("")
	return &letters{js: js, stream: stream, work: deadletter.New(js, stream)}
}

// watch keeps the count. A bus that is away leaves it as it was: that the bus is away is told elsewhere.
func (l *letters) watch(ctx context.Context) error {
	tick := time.NewTicker(lettersEvery)
	defer tick.Stop()
	for {
		if s, err := natsbus.ReadStreamStats(ctx, l.js, l.stream); err == nil {
			l.count.Store(s.Messages)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
