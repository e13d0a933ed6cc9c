package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/examples/marketprism/health"
	"github.com/marketprism/marketprism/examples/marketprism/logging"
	"github.com/marketprism/marketprism/examples/marketprism/metrics"
)

// stalled is for how long the main loop may stand still before /healthz says so. It turns at least
// every five seconds.
const stalled = 30 * time.Second

// liveShare is the part of the books that have to be synced for a collector to be ready.
const liveShare = 0.95

// An observation is what a process tells of itself: logs, metrics and health.
type observation struct {
	role, version string

	log      *slog.Logger
	repeats  *logging.Repeats
	metrics  *metrics.Metrics
	registry *prometheus.Registry
	bus      *metrics.Bus
	archive  *metrics.Archive // nil until there is one
	health   *health.Health   // nil until the parts are there
}

func newObservation(role, version string, cfg config.Config, logTo io.Writer) (*observation, error) {
	w := &observation{role: role, version: version, registry: prometheus.NewPedanticRegistry()}
	w.repeats = logging.NewRepeats(logging.NewHandler(logTo, cfg.LogLevel))
	w.metrics = metrics.New(metrics.Config{
		Service: role, Version: version,
		PollFailed: func(i metrics.PollInfo) {
			w.logger("metrics").Warn("not measured", "what", i.What, "err", i.Err)
		},
	})
	w.log = slog.New(w.metrics.CountLogs(w.repeats)).With("service", role, "instance", cfg.Instance)
	w.bus = w.metrics.Bus()
	err := errors.Join(w.metrics.Register(w.registry), w.registry.Register(collectors.NewGoCollector()),
		w.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})))
	return w, err
}

func (w *observation) logger(component string) *slog.Logger {
	return w.log.With("component", component)
}

// beat says that the main loop has turned.
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

// checks are what has to be there for the role to be ready.
func (p *Pipeline) checks() []health.Check {
	checks := []health.Check{{Name: "bus", Ready: func(context.Context) error {
		if !p.bus.Conn.IsConnected() {
			return errors.New("no connection")
		}
		return nil
	}}}
	if p.archive != nil {
		checks = append(checks, health.Check{Name: "store", Ready: p.archive.Store.Ping})
	}
	if p.collector != nil {
		checks = append(checks, health.Check{Name: "books", Ready: func(context.Context) error {
			synced, all := p.collector.synced()
			if all == 0 || float64(synced) < liveShare*float64(all) {
				return fmt.Errorf("%d of %d are synced", synced, all)
			}
			return nil
		}})
	}
	return checks
}
