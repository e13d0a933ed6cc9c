package pipeline

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/examples/marketprism/health"
	"github.com/marketprism/marketprism/examples/marketprism/logging"
	"github.com/marketprism/marketprism/examples/marketprism/metrics"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
)

// stalled is the longest pause of the main loop before /healthz reports it. The loop iterates at least every five
// seconds.
const stalled = 30 * time.Second

// liveShare is the share of synced books from which on a collector is ready.
const liveShare = 0.95

// An observation holds the logs, metrics and health of a process.
type observation struct {
	role, version string

	log      *slog.Logger
	repeats  *logging.Repeats
	metrics  *metrics.Metrics
	registry *prometheus.Registry
	bus      *metrics.Bus
	spill    *metrics.Spill
	archive  *metrics.Archive // nil until the archive is open
	health   *health.Health   // nil until the services start
}

func newObservation(role, version string, cfg config.Config, logTo io.Writer) (*observation, error) {
	w := &observation{role: role, version: version, registry: prometheus.NewPedanticRegistry()}
	lines := logging.NewHandler(logTo, cfg.LogLevel)
	if cfg.LogPlain {
		lines = logging.NewPlain(logTo, cfg.LogLevel)
	}
	w.repeats = logging.NewRepeats(lines)
	w.metrics = metrics.New(metrics.Config{
		Service: role, Version: version,
		PollFailed: func(i metrics.PollInfo) {
			w.logger("metrics").Warn("not measured", "what", i.What, "err", i.Err)
		},
	})
	w.log = slog.New(w.metrics.CountLogs(w.repeats)).With("service", role, "instance", cfg.Instance)
	w.bus, w.spill = w.metrics.Bus(), w.metrics.Spill()
	err := errors.Join(w.metrics.Register(w.registry), w.registry.Register(collectors.NewGoCollector()),
		w.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})))
	return w, err
}

func (w *observation) logger(component string) *slog.Logger {
	return w.log.With("component", component)
}

// beat signals that the main loop runs.
func (w *observation) beat() {
	w.metrics.Beat()
	w.health.Beat()
	w.notify(daemon.SdNotifyWatchdog)
}

// notify reports a state to the supervisor that started the process, systemd with Type=notify, if there is one.
func (w *observation) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		w.logger("supervisor").Warn("not notified", "state", state, "err", err)
	}
}

// connections tracks the connections to the exchange by hooks. It is safe for concurrent use.
type connections struct {
	mu   sync.Mutex
	open map[int]bool // by number; false for one that failed or was cut and is being retried
	list error        // of the last poll of the listing; nil if it has none
}

func (l *connections) hooks() *binance.Hooks {
	return &binance.Hooks{
		ConnectDone: func(i binance.ConnectInfo) { l.set(i.Conn, i.Err == nil) },
		ListingDone: func(i binance.ListingInfo) { l.listed(i.Err) },
		Disconnected: func(i binance.DisconnectInfo) {
			switch {
			case errors.Is(i.Err, binance.ErrReplaced): // another one has taken its number
			case errors.Is(i.Err, binance.ErrClosed): // no symbol needs it
				l.forget(i.Conn)
			default:
				l.set(i.Conn, false)
			}
		},
	}
}

func (l *connections) set(conn int, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = make(map[int]bool)
	}
	l.open[conn] = open
}

// listed keeps the error of a poll, unless it is that of the end of the collection.
func (l *connections) listed(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = err
}

func (l *connections) listingErr() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list
}

func (l *connections) forget(conn int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, conn)
}

// count returns how many are open, and how many are needed.
func (l *connections) count() (open, all int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, is := range l.open {
		if is {
			open++
		}
	}
	return open, len(l.open)
}

// lettersEvery is the interval of reading the number of dead letters.
const lettersEvery = 2 * time.Second

// letters counts the dead letters on the bus, from all processes.
type letters struct {
	js     jetstream.StreamManager
	stream string
	work   *deadletter.Queue
	count  atomic.Uint64 // as last read
}

func newLetters(js jetstream.JetStream) *letters {
	stream := natsbus.DeadLettersStream("")
	return &letters{js: js, stream: stream, work: deadletter.New(js, stream)}
}

// watch updates the count until ctx ends. While the bus is unreachable the count stays.
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
			return nil
		}
	}
}
