package pipeline

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/examples/marketprism/gate"
	"github.com/marketprism/marketprism/examples/marketprism/health"
	"github.com/marketprism/marketprism/examples/marketprism/metrics"
	"github.com/marketprism/marketprism/examples/marketprism/page"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/presence"
	"github.com/marketprism/marketprism/sink"
)

// services returns the heartbeat, the health and metrics server, the live page and the logs.
func (p *Pipeline) services() ([]sink.Stage, error) {
	p.watch.health = health.New(stalled, p.checks()...)
	beats, err := presence.NewHeartbeat(p.bus.Conn, presence.HeartbeatConfig{
		Service: p.watch.role, Instance: p.cfg.Instance, Version: p.watch.version, Report: p.report,
	})
	if err != nil {
		return nil, err
	}
	services := []sink.Stage{
		{Name: "heartbeat", Run: beats.Run}, {Name: "log", Run: p.watch.repeats.Run},
		{Name: "metrics", Run: p.watch.metrics.Poll}, {Name: "dead letters", Run: p.letters.watch},
	}
	if p.cfg.HealthListen != "" {
		handler := gate.New(gate.Config{Hosts: p.cfg.HTTPHosts, Token: p.cfg.HTTPToken}, p.watch.health.Handler(metrics.Handler(p.watch.registry)))
		serve, url, err := listen(p.cfg.HealthListen, "health-listen", handler)
		if err != nil {
			return nil, err
		}
		if gate.Exposed(p.cfg.HealthListen) && p.cfg.HTTPToken == "" {
			p.watch.logger("health").Warn("other hosts can read health and metrics without a login; http-token sets one", "listen", p.cfg.HealthListen)
		}
		fmt.Fprintf(p.out, "health: %s/readyz, metrics: %s/metrics\n", url, url)
		services = append(services, sink.Stage{Name: "health", Run: serve})
	}
	if p.collector != nil && p.collector.page != nil {
		p.door.Open(p.collector.page)
		services = append(services, sink.Stage{Name: "page", Run: p.collector.page.Run})
	}
	return services, nil
}

// report returns the content of a heartbeat.
func (p *Pipeline) report() presence.Report {
	r := presence.Report{State: "running", Counters: make(map[string]uint64)}
	if p.collector != nil {
		synced, all := p.collector.synced()
		r.State = fmt.Sprintf("%d of %d synced", synced, all)
		if name := p.cfg.Origin(); name != "" {
			r.State = name + ", " + r.State
		}
		r.Counters["received"], r.Counters["published"] = p.tally.total(received), p.tally.total(acked)
		spill := p.collector.spill.Stats()
		r.Counters["queued"] = uint64(spill.Queued)
		for _, part := range spillStatus(spill) {
			r.State += ", " + part
		}
	}
	if p.archiver != nil {
		r.Counters["stored"] = p.tally.total(stored)
		r.Lag = p.archiver.behind()
	}
	return r
}

// openPage serves the live page, unless it is off, before there are books: it says what the program waits for.
func (p *Pipeline) openPage() error {
	if p.cfg.PageListen == "" {
		return nil
	}
	// Other hosts log in, with a token of this run unless one is set.
	p.pageGate = gate.Config{Hosts: p.cfg.HTTPHosts, Token: p.cfg.HTTPToken}
	login := ""
	if p.pageGate.Token == "" && gate.Exposed(p.cfg.PageListen) {
		p.pageGate.Token = rand.Text()
		login = ", log in with " + p.pageGate.Token
	}
	p.door = page.NewDoor(p.pageGate, p.cfg.Origin())
	p.door.Wait("NATS and ClickHouse")
	serve, url, err := listen(p.cfg.PageListen, "page-listen", p.door)
	if host, port, cut := net.SplitHostPort(p.cfg.PageListen); p.cfg.PageFallback && cut == nil && errors.Is(err, syscall.EADDRINUSE) {
		serve, url, err = listen(net.JoinHostPort(host, "0"), "page-listen", p.door)
		login += fmt.Sprintf(" (port %s is taken)", port)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "live page: %s/%s\n", url, login)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx) }()
	p.closePage = func() error {
		stop()
		return <-served
	}
	return nil
}

// newPage creates the live page of the collector's books, unless it is off.
func (p *Pipeline) newPage(c *collector) error {
	if p.door == nil {
		return nil
	}
	cfg := page.Config{
		Gate: p.pageGate, Source: p.cfg.Origin(),
		Market: marketprism.Market(p.cfg.Market), Feed: c.books, Health: p.pageHealth,
		ArchiveFailed: func(err error) { p.watch.logger("page").Warn("archive not read", "err", err) },
	}
	if p.archive != nil {
		cfg.Archive = p.archive.Store
	}
	var err error
	c.page, err = page.New(cfg)
	return err
}

func (p *Pipeline) pageHealth() page.Health {
	usage := p.collector.client.Usage()
	h := page.Health{
		WeightUsed: usage.Used, WeightLimit: usage.Limit, BlockedUntil: usage.BlockedUntil,
		NoStore: p.archiver == nil, BusConnected: p.bus.Conn.IsConnected(),
		Received: p.tally.total(received), Published: p.tally.total(acked),
	}
	h.Connections, h.ConnectionsWant = p.collector.conns.count()
	h.DeadLetters = p.letters.count.Load()
	if p.archiver != nil {
		h.StoreConnected = true
		h.Stored, h.Pending, h.LagSeconds = p.tally.total(stored), p.archiver.behind(), p.tally.lastLag().Seconds()
		for _, c := range p.archiver.consumers {
			h.StoreConnected = h.StoreConnected && c.Stats().Circuit == natsbus.CircuitClosed
		}
	}
	return h
}

// listen opens a port, so that a wrong address is an error at the start, and returns a stage that serves on it.
func listen(addr, setting string, handler http.Handler) (serve func(context.Context) error, url string, err error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, "", fmt.Errorf("--%s %s: %w (give another address; port 0 is a free one)", setting, addr, err)
	}
	server := gate.NewServer(handler)
	return func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // open pages never end by themselves
		defer stop()
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, "http://" + listener.Addr().String(), nil
}

const (
	pollInterval = 20 * time.Millisecond
	quietFor     = time.Second
)

// waitStored blocks until a consumer has stored and acknowledged every message that its stream has now. An earlier run
// may have stored them, and others may go on publishing.
func waitStored(ctx context.Context, js jetstream.JetStream, stream string, c *natsbus.Consumer) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	last := s.CachedInfo().State.LastSeq
	return poll(ctx, func() bool {
		if c.Stats().Sequence >= last {
			return true
		}
		lag, err := c.Lag(ctx)
		return err == nil && lag.Pending == 0 && lag.AckPending == 0
	})
}

// waitQuiet blocks until no record was received for a second: the last frames of a recording may still be in
// transit.
func (p *Pipeline) waitQuiet(ctx context.Context) error {
	seen, since := p.tally.total(received), time.Now()
	err := poll(ctx, func() bool {
		if n := p.tally.total(received); n != seen {
			seen, since = n, time.Now()
		}
		return time.Since(since) >= quietFor
	})
	if ctx.Err() != nil {
		return nil // interrupted
	}
	return err
}

func poll(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// stuck is the longest time for which messages may be in flight without being stored or failing. It exceeds the
// timeout of an INSERT.
const stuck = 2 * time.Minute

// A progress detects consumers that neither store their messages in flight nor fail. An outage of the bus or the store
// does not count: they keep retrying, and a restart would not help.
type progress struct {
	done  uint64
	moved time.Time // when done last changed, or there was nothing to do
}

// observe records the consumers' stats at a time of the local clock, and reports whether they make progress.
func (w *progress) observe(now time.Time, consumers ...natsbus.ConsumerStats) bool {
	var done uint64
	waits := false
	for _, s := range consumers {
		done += s.Batches + s.Refusals + s.SinkFailures + s.DeadLetterFailures + s.ServerFailures
		waits = waits || s.InFlight > 0 && s.Circuit == natsbus.CircuitClosed
	}
	if !waits || done != w.done || w.moved.IsZero() {
		w.done, w.moved = done, now
	}
	return now.Sub(w.moved) < stuck
}

// beat signals that the main loop runs, unless the archiver is stuck.
func (p *Pipeline) beat() {
	if p.archiver == nil || p.progress.observe(time.Now(), p.archiver.stats()...) {
		p.watch.beat()
	}
}

// checks returns the conditions of readiness.
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
