package metrics

import (
	"context"
	"log/slog"
	"runtime"
	"time"
)

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
