package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/check"
)

// A Beat is what a service says of itself: the JSON body of a message on PREFIXhb.SERVICE.INSTANCE,
// such as mdhb.collector.tokyo-1.
type Beat struct {
	Service  string    `json:"service"`
	Instance string    `json:"instance"`
	Version  string    `json:"version"`
	Started  time.Time `json:"started"` // clock of the service, UTC
	Time     time.Time `json:"time"`    // of the beat; the same clock

	// Every is the time to the next beat, in nanoseconds; 0 in the last one before an orderly end.
	Every time.Duration `json:"every"`

	Report
}

// A Report is the part of a Beat that changes.
type Report struct {
	State    string            `json:"state,omitempty"`    // in a word or two: "running", "2 of 3 synced"
	Counters map[string]uint64 `json:"counters,omitempty"` // by name; they only grow
	Lag      uint64            `json:"lag,omitempty"`      // records that wait to be worked on
}

// A HeartbeatConfig names a service. Service, Instance and Version are required.
type HeartbeatConfig struct {
	Prefix   string        // of market data; "" means DefaultPrefix
	Service  string        // what it is: letters, digits, '-' and '_'
	Instance string        // which one of several: likewise
	Version  string        // as "1.2.3" (semver.org)
	Every    time.Duration // between two beats; 0 means 5 s

	// Report is asked before each beat, and for each request for the status, at any time and by several
	// goroutines at once. It must not block. Nil means that there is nothing to tell.
	Report func() Report

	// NoService leaves out the NATS micro service, by which "nats micro ls", "info" and "stats" see this
	// one, and which answers requests on PREFIXstatus.SERVICE.INSTANCE with a Beat.
	NoService bool

	Hooks *HeartbeatHooks // nil means none
}

// HeartbeatHooks observe a Heartbeat. Any field may be nil. They are called on the goroutine of Run.
type HeartbeatHooks struct {
	Sent   func(Beat)
	Failed func(error) // a beat could not be sent; the next one is tried in its turn
}

// semver is the form that NATS asks of versions (semver.org, without the rarer parts).
const semver = `^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`

func (cfg HeartbeatConfig) withDefaults() (HeartbeatConfig, error) {
	defaults.Set(&cfg.Prefix, DefaultPrefix)
	defaults.Set(&cfg.Every, 5*time.Second)
	if err := check.Prefix(cfg.Prefix); err != nil {
		return cfg, fmt.Errorf("%w: %w", ErrSubject, err)
	}
	if err := check.Names("Service", cfg.Service, "Instance", cfg.Instance); err != nil {
		return cfg, fmt.Errorf("natsbus: %w", err)
	}
	if ok, err := regexp.MatchString(semver, cfg.Version); err != nil || !ok {
		return cfg, errors.Join(fmt.Errorf("natsbus: Version %q: want a form like 1.2.3", cfg.Version), err)
	}
	if cfg.Every < 0 || cfg.Every > maxInterval {
		return cfg, fmt.Errorf("natsbus: Every %v: want a positive time of a day at most", cfg.Every)
	}
	if cfg.Hooks == nil {
		cfg.Hooks = &HeartbeatHooks{}
	}
	return cfg, nil
}

// A Heartbeat tells on the bus that a service is there, and how it is. Its last beat is in the stream
// that HeartbeatsStream names, if EnsureStreams has made that.
type Heartbeat struct {
	cfg     HeartbeatConfig
	nc      *nats.Conn
	started time.Time
}

// NewHeartbeat returns a Heartbeat on a connection that the caller opens and closes. It fails if cfg is
// contradictory.
func NewHeartbeat(nc *nats.Conn, cfg HeartbeatConfig) (*Heartbeat, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Heartbeat{cfg: cfg, nc: nc, started: time.Now().UTC()}, nil
}

// Run sends a beat at once and then at every interval until ctx ends, whose cause it then returns,
// after a last beat. It returns earlier if the micro service cannot be made. It is for one goroutine.
func (h *Heartbeat) Run(ctx context.Context) error {
	if !h.cfg.NoService {
		service, err := h.serve()
		if err != nil {
			return fmt.Errorf("natsbus: micro service %s: %w", h.cfg.Service, err)
		}
		defer func() { _ = service.Stop() }() // what is left of it ends with the connection
	}
	ticker := time.NewTicker(h.cfg.Every)
	defer ticker.Stop()
	h.send(h.cfg.Every)
	for {
		select {
		case <-ticker.C:
			h.send(h.cfg.Every)
		case <-ctx.Done():
			h.send(0)
			return context.Cause(ctx)
		}
	}
}

func (h *Heartbeat) beat(every time.Duration) Beat {
	b := Beat{
		Service: h.cfg.Service, Instance: h.cfg.Instance, Version: h.cfg.Version,
		Started: h.started, Time: time.Now().UTC(), Every: every,
	}
	if h.cfg.Report != nil {
		b.Report = h.cfg.Report()
	}
	return b
}

func (h *Heartbeat) send(every time.Duration) {
	b := h.beat(every)
	body, err := json.Marshal(b)
	if err == nil {
		err = h.nc.Publish(beatSubject(h.cfg.Prefix, h.cfg.Service, h.cfg.Instance), body)
	}
	if err != nil {
		hook.Call(h.cfg.Hooks.Failed, err)
		return
	}
	hook.Call(h.cfg.Hooks.Sent, b)
}

func beatSubject(prefix, service, instance string) string {
	return prefix + "hb." + service + "." + instance
}

// serve makes the micro service.
func (h *Heartbeat) serve() (micro.Service, error) {
	return micro.AddService(h.nc, micro.Config{
		Name:        h.cfg.Service,
		Version:     h.cfg.Version,
		Description: "MarketPrism " + h.cfg.Service,
		Metadata:    map[string]string{"instance": h.cfg.Instance},
		Endpoint: &micro.EndpointConfig{
			Subject: h.cfg.Prefix + "status." + h.cfg.Service + "." + h.cfg.Instance,
			Handler: micro.HandlerFunc(func(r micro.Request) {
				_ = r.RespondJSON(h.beat(h.cfg.Every)) // who asked gets no answer in time, and asks again
			}),
		},
	})
}
