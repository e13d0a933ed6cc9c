package logging

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Window is for how long lines like one that was written are counted only.
const Window = 30 * time.Second

// maxLines bounds the lines that are told apart. Messages are constants, so it is reached only by a
// program that puts values in them; the lines beyond are all written.
const maxLines = 1024

// Repeats is a handler that writes the first of lines of one level, component and message, and then
// every Window the last of them with their number, "repeats". Run has to run, or counts wait for the
// next such line.
type Repeats struct {
	next      slog.Handler
	component string
	grouped   bool
	lines     *lines
}

// NewRepeats returns Repeats in front of next.
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

// Enabled is of slog.Handler.
func (h *Repeats) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle is of slog.Handler.
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

// pass tells whether a line is to be written, and how many were held before it.
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

// Run writes what was counted until ctx ends, at its end what is left, and returns its error.
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

// flush writes the counts that are as old, and forgets lines that did not come again.
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
		_ = c.handler.Handle(ctx, counted(c.last, c.held)) // a log that cannot be written has nowhere to say so
	}
}

// WithAttrs is of slog.Handler.
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

// WithGroup is of slog.Handler.
func (h *Repeats) WithGroup(name string) slog.Handler {
	with := *h
	with.next = h.next.WithGroup(name)
	with.grouped = h.grouped || name != ""
	return &with
}
