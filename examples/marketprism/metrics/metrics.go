package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config configures Metrics. The zero value is ready to use.
type Config struct {
	Service  string // value of the label service; "" means "marketprism"
	Version  string // of the program; "" means "unknown"
	Revision string // of its source; "" means "unknown"

	Symbols SymbolPolicy

	// PollEvery is the interval at which Poll queries the bus and the store; sizes of tables and disks and the
	// exchange's clock are read at every fourth one. 0 means 15 s.
	PollEvery time.Duration
	// PollFailed is called for each failed query of Poll. It may be nil. It must not block.
	PollFailed func(PollInfo)
}

// A PollInfo describes a failed query.
type PollInfo struct {
	What string // "stream MD_BOOKS", "store", …
	Err  error
}

// Metrics is a prometheus.Collector of the parts of a program.
type Metrics struct {
	cfg        Config
	families   map[string]Family
	descs      map[string]*prometheus.Desc
	histograms map[string]*prometheus.HistogramVec
	beat       *number

	mu        sync.Mutex
	series    map[string]*series
	sources   []func(emit)
	polls     []poll
	exchanges map[string]*Exchange
}

var _ prometheus.Collector = (*Metrics)(nil)

// An emit adds the current value of a series to a scrape.
type emit func(name string, value float64, labels ...string)

// New returns Metrics of the service, without other parts.
func New(cfg Config) *Metrics {
	setDefault(&cfg.Service, "marketprism")
	setDefault(&cfg.Version, "unknown")
	setDefault(&cfg.Revision, "unknown")
	setDefault(&cfg.PollEvery, 15*time.Second)
	cfg.Symbols = cfg.Symbols.withDefaults()
	m := &Metrics{
		cfg:      cfg,
		families: make(map[string]Family), descs: make(map[string]*prometheus.Desc),
		histograms: make(map[string]*prometheus.HistogramVec), series: make(map[string]*series),
		exchanges: make(map[string]*Exchange),
	}
	for _, f := range Catalogue() {
		m.families[f.Name] = f
		if f.Type == Histogram {
			m.histograms[f.Name] = newHistogram(f)
			continue
		}
		m.descs[f.Name] = prometheus.NewDesc(f.Name, f.Help, f.LabelNames(), nil)
	}
	m.begin()
	return m
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func newHistogram(f Family) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: f.Name, Help: f.Help, Buckets: f.Buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 120, NativeHistogramMinResetDuration: time.Hour,
	}, f.LabelNames())
}

// Register registers m. It fails if a name is already registered.
func (m *Metrics) Register(r prometheus.Registerer) error { return r.Register(m) }

// Handler serves scrapes of g, as text, OpenMetrics or protobuf.
func Handler(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 2, Timeout: 10 * time.Second})
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		ch <- d
	}
	for _, h := range m.histograms {
		h.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	all := make([]*series, 0, len(m.series))
	for _, s := range m.series {
		all = append(all, s)
	}
	sources := m.sources
	m.mu.Unlock()

	give := func(name string, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(m.descs[name], m.families[name].valueType(), value, labels...)
	}
	for _, s := range all {
		give(s.name, s.number.get(), s.labels...)
	}
	for _, source := range sources {
		source(give)
	}
	for _, h := range m.histograms {
		h.Collect(ch)
	}
}

// source adds a func that is called at each scrape.
func (m *Metrics) source(read func(emit)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sources = append(m.sources, read)
}

// number returns the series with that name and those labels, and creates it if needed.
func (m *Metrics) number(name string, labels ...string) *number {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := name + "\xff" + strings.Join(labels, "\xff")
	s := m.series[key]
	if s == nil {
		s = &series{name: name, labels: labels}
		m.series[key] = s
	}
	return &s.number
}

// closed returns the series of a family whose last label is of a closed set.
func (m *Metrics) closed(name string, labels ...string) closedSet {
	f := m.families[name]
	set := closedSet{numbers: make(map[string]*number)}
	for _, value := range f.Labels[len(f.Labels)-1].Values {
		set.numbers[value] = m.number(name, append(append([]string(nil), labels...), value)...)
	}
	return set
}

// histogram returns the histogram of those labels.
func (m *Metrics) histogram(name string, labels ...string) prometheus.Observer {
	return m.histograms[name].WithLabelValues(labels...)
}

// A poll is a periodic query of a server.
type poll struct {
	what   string
	seldom bool // only at every fourth interval
	ask    func(context.Context) error
}

func (m *Metrics) poll(p poll) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.polls = append(m.polls, p)
}

// Poll queries the servers, at once and then at regular intervals, until ctx ends, then returns nil. Each query times
// out after one interval.
func (m *Metrics) Poll(ctx context.Context) error {
	tick := time.NewTicker(m.cfg.PollEvery)
	defer tick.Stop()
	for turn := 0; ; turn++ {
		m.mu.Lock()
		polls := m.polls
		m.mu.Unlock()
		for _, p := range polls {
			if !p.seldom || turn%4 == 0 {
				m.ask(ctx, p)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (m *Metrics) ask(ctx context.Context, p poll) {
	asking, cancel := context.WithTimeout(ctx, m.cfg.PollEvery)
	defer cancel()
	if err := p.ask(asking); err != nil && ctx.Err() == nil && m.cfg.PollFailed != nil {
		m.cfg.PollFailed(PollInfo{What: p.what, Err: err})
	}
}

// unix returns a time in seconds since the epoch; 0 for the zero time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *Metrics) begin() {
	m.number(BuildInfo, m.cfg.Version, m.cfg.Revision, runtime.Version()).set(1)
	m.beat = m.number(ServiceHeartbeat, m.cfg.Service)
	m.beat.set(unix(time.Now()))
	for _, component := range components {
		m.closed(LogMessages, m.cfg.Service, component)
	}
}

// Beat says that the service has completed a turn of its main loop. Call it from that loop, and not
// from a timer beside it, which would go on while the loop hangs.
func (m *Metrics) Beat() { m.beat.set(unix(time.Now())) }

// CountLogs returns a handler that counts records and gives them to next. Their component is the
// attribute "component" of the logger or of the record.
func (m *Metrics) CountLogs(next slog.Handler) slog.Handler {
	h := &logCounter{next: next, counts: make(map[string]closedSet), component: Other}
	for _, component := range components {
		h.counts[component] = m.closed(LogMessages, m.cfg.Service, component)
	}
	return h
}

type logCounter struct {
	next      slog.Handler
	counts    map[string]closedSet // by component
	component string
	grouped   bool // attributes are of a group, and none names the component
}

func (h *logCounter) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *logCounter) Handle(ctx context.Context, r slog.Record) error {
	component := h.component
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "component" && !h.grouped {
			component = known(a.Value.String(), components)
		}
		return true
	})
	h.counts[component].of(levelName(r.Level)).inc()
	return h.next.Handle(ctx, r)
}

// levelName returns the level at or below, since programs may have their own between them.
func levelName(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "ERROR"
	case level >= slog.LevelWarn:
		return "WARN"
	case level >= slog.LevelInfo:
		return "INFO"
	}
	return "DEBUG"
}

func (h *logCounter) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.next = h.next.WithAttrs(attrs)
	for _, a := range attrs {
		if a.Key == "component" && !h.grouped {
			c.component = known(a.Value.String(), components)
		}
	}
	return &c
}

func (h *logCounter) WithGroup(name string) slog.Handler {
	c := *h
	c.next, c.grouped = h.next.WithGroup(name), h.grouped || name != ""
	return &c
}
