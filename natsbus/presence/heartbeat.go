package presence

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
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// A Beat is the status of a service: the JSON body of a message on PREFIXhb.SERVICE.INSTANCE, such as
// mdhb.collector.tokyo-1.
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
	State    string            `json:"state,omitempty"`    // in a few words: "running", "2 of 3 synced"
	Counters map[string]uint64 `json:"counters,omitempty"` // by name; they only increase
	Lag      uint64            `json:"lag,omitempty"`      // records that are waiting
}

// A HeartbeatConfig names a service. Service, Instance and Version are required.
type HeartbeatConfig struct {
	Prefix   string        // of market data; "" means natsbus.DefaultPrefix
	Service  string        // kind of service: letters, digits, '-' and '_'
	Instance string        // which one of several: likewise
	Version  string        // as "1.2.3" (semver.org)
	Every    time.Duration // between two beats; 0 means 5 s

	// Report is called before each beat and for each status request, by several goroutines at once. It must not
	// block. nil means an empty Report.
	Report func() Report

	// NoService leaves out the NATS micro service, which "nats micro ls", "info" and "stats" show. Its endpoint is
	// named status, and answers requests on PREFIXstatus.SERVICE.INSTANCE with a Beat.
	NoService bool

	Hooks *Hooks // nil means none
}

// Hooks observe a Heartbeat. Any field may be nil. They are called on the goroutine of Run.
type Hooks struct {
	Sent   func(Beat)
	Failed func(error) // a beat could not be sent; the next one is sent at its time
}

// semver is the form that NATS requires of versions (semver.org, without the rarer parts).
const semver = `^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`

func (cfg HeartbeatConfig) withDefaults() (HeartbeatConfig, error) {
	defaults.Set(&cfg.Prefix, natsbus.DefaultPrefix)
	defaults.Set(&cfg.Every, 5*time.Second)
	err := check.Prefix(cfg.Prefix)
	if err == nil {
		err = check.Names("Service", cfg.Service, "Instance", cfg.Instance)
	}
	if err != nil {
		return cfg, fmt.Errorf("presence: %w", err)
	}
	if ok, err := regexp.MatchString(semver, cfg.Version); err != nil || !ok {
		return cfg, errors.Join(fmt.Errorf("presence: Version %q: want a form like 1.2.3", cfg.Version), err)
	}
	if cfg.Every < 0 || cfg.Every > maxInterval {
		return cfg, fmt.Errorf("presence: Every %v: want a positive time of a day at most", cfg.Every)
	}
	if cfg.Hooks == nil {
		cfg.Hooks = &Hooks{}
	}
	return cfg, nil
}

// A Heartbeat publishes the status of a service. Its last beat is in the stream that Stream names, if
// natsbus.EnsureStreams has made that.
type Heartbeat struct {
	cfg     HeartbeatConfig
	nc      *nats.Conn
	started time.Time
}

// NewHeartbeat returns a Heartbeat on a connection that the caller opens and closes. It fails if cfg is contradictory.
func NewHeartbeat(nc *nats.Conn, cfg HeartbeatConfig) (*Heartbeat, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Heartbeat{cfg: cfg, nc: nc, started: time.Now().UTC()}, nil
}

// Run sends a beat at once and then at every interval. It blocks until ctx ends, and then returns nil after a last
// beat; Hooks.Failed reports the failure of that one too. It returns earlier if the micro service cannot be made. It
// must not be called concurrently.
func (h *Heartbeat) Run(ctx context.Context) error {
	if !h.cfg.NoService {
		service, err := h.serve()
		if err != nil {
			return fmt.Errorf("presence: micro service %s: %w", h.cfg.Service, err)
		}
		defer func() { _ = service.Stop() }() // the rest of it ends with the connection
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
			return nil
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

// serve makes the micro service, with one endpoint.
func (h *Heartbeat) serve() (micro.Service, error) {
	service, err := micro.AddService(h.nc, micro.Config{
		Name:        h.cfg.Service,
		Version:     h.cfg.Version,
		Description: pull.Description(h.cfg.Service),
		Metadata:    map[string]string{"instance": h.cfg.Instance, "prefix": h.cfg.Prefix},
	})
	if err != nil {
		return nil, err
	}
	status := micro.HandlerFunc(func(r micro.Request) {
		_ = r.RespondJSON(h.beat(h.cfg.Every)) // a client without an answer asks again
	})
	err = service.AddEndpoint("status", status,
		micro.WithEndpointSubject(h.cfg.Prefix+"status."+h.cfg.Service+"."+h.cfg.Instance),
		micro.WithEndpointMetadata(map[string]string{
			"description": "the status of this instance; the request has no body", "response": "JSON, the form of a beat on " +
				beatSubject(h.cfg.Prefix, h.cfg.Service, h.cfg.Instance),
		}))
	if err != nil {
		return nil, errors.Join(err, service.Stop())
	}
	return service, nil
}
