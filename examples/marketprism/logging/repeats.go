package logging

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Window is the time after a line during which lines like it are only counted.
const Window = 30 * time.Second

// maxLines bounds the number of distinct lines. Messages are constants, so only a program that puts values into them
// exceeds it; further lines are all written.
const maxLines = 1024

// Repeats is a handler that writes the first of the lines with one level, component and message, and then every Window
// the last of them with their number, "repeats". Without Run, counts are written with the next such line.
type Repeats struct {
	next      slog.Handler
	component string
	grouped   bool
	lines     *lines
}

// NewRepeats returns a Repeats that writes to next.
func NewRepeats(next slog.Handler) *Repeats {
	return &Repeats{next: next, lines: &lines{seen: make(map[line]*count)}}
}

type line struct {
	level              slog.Level
	component, message string
}

type count struct {
	since   time.Time // local clock, when the last one was written
	held    int
	last    slog.Record
	handler slog.Handler
}

type lines struct {
	mu   sync.Mutex
	seen map[line]*count
}

// Enabled implements slog.Handler.
func (h *Repeats) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *Repeats) Handle(ctx context.Context, r slog.Record) error {
	key := line{r.Level, h.componentOf(r), r.Message}
	if held, write := h.lines.pass(key, r, h.next); !write {
		return nil
	} else if held > 0 {
		return h.next.Handle(ctx, counted(r, held+1))
	}
	return h.next.Handle(ctx, r)
}

func (h *Repeats) componentOf(r slog.Record) string {
	component := h.component
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "component" && !h.grouped {
			component = a.Value.String()
		}
		return true
	})
	return component
}

// pass reports whether to write a line, and how many were counted before it.
func (l *lines) pass(key line, r slog.Record, handler slog.Handler) (held int, write bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	c := l.seen[key]
	if c == nil {
		if len(l.seen) < maxLines {
			l.seen[key] = &count{since: now}
		}
		return 0, true
	}
	if now.Sub(c.since) < Window {
		c.held++
		c.last, c.handler = r.Clone(), handler
		return 0, false
	}
	held = c.held
	*c = count{since: now}
	return held, true
}

func counted(r slog.Record, n int) slog.Record {
	r = r.Clone()
	r.AddAttrs(slog.Int("repeats", n))
	return r
}

// Run writes the counts every Window until ctx ends, then the rest, and returns nil.
func (h *Repeats) Run(ctx context.Context) error {
	tick := time.NewTicker(Window / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.flush(ctx, Window)
		case <-ctx.Done():
			h.flush(context.WithoutCancel(ctx), 0)
			return nil
		}
	}
}

// flush writes the counts of at least this age, and deletes lines that were not repeated.
func (h *Repeats) flush(ctx context.Context, age time.Duration) {
	now := time.Now()
	var due []count
	h.lines.mu.Lock()
	for key, c := range h.lines.seen {
		switch {
		case now.Sub(c.since) < age:
		case c.held == 0:
			delete(h.lines.seen, key)
		default:
			due = append(due, *c)
			*c = count{since: now}
		}
	}
	h.lines.mu.Unlock()
	for _, c := range due {
		_ = c.handler.Handle(ctx, counted(c.last, c.held)) // there is nowhere to report an unwritable log
	}
}

// WithAttrs implements slog.Handler.
func (h *Repeats) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.next = h.next.WithAttrs(attrs)
	for _, a := range attrs {
		if a.Key == "component" && !h.grouped {
			with.component = a.Value.String()
		}
	}
	return &with
}

// WithGroup implements slog.Handler.
func (h *Repeats) WithGroup(name string) slog.Handler {
	with := *h
	with.next = h.next.WithGroup(name)
	with.grouped = h.grouped || name != ""
	return &with
}
