// Package logging implements the logs of the marketprism program: one JSON object a line with fixed keys, UTC times
// in nanoseconds, and at most one line in half a minute for repeated messages.
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/marketprism/marketprism/examples/plain"
)

// NewHandler returns a handler that writes JSON to w. Its keys are time, level, msg, and those of loggers: service,
// instance, component, exchange, market, symbol, stream, consumer, table, reason, err and duration_seconds. It writes
// "elapsed", "duration" and "took" as duration_seconds, and "instrument" as exchange, market and symbol.
func NewHandler(w io.Writer, level slog.Leveler) slog.Handler {
	return unique{Handler: slog.NewJSONHandler(plain.JSON(w), &slog.HandlerOptions{Level: level, ReplaceAttr: fixed})}
}

// NewPlain returns a handler that writes lines for people to w: "warning: store: message, table=trades". It leaves out the time
// and what is the same in all lines of a process.
func NewPlain(w io.Writer, level slog.Leveler) slog.Handler {
	return unique{Handler: &plainHandler{w: w, level: level, mu: new(sync.Mutex)}}
}

type plainHandler struct {
	w     io.Writer
	level slog.Leveler
	attrs []slog.Attr
	mu    *sync.Mutex // one line at a time, of all loggers
}

func (h *plainHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *plainHandler) Handle(_ context.Context, r slog.Record) error {
	component, rest := "", ""
	add := func(a slog.Attr) bool {
		switch a = fixed(nil, a); {
		case a.Key == "component":
			component = a.Value.String() + ": "
		case a.Value.Kind() == slog.KindGroup:
			for _, member := range a.Value.Group() {
				rest += ", " + member.String()
			}
		case a.Key != "" && a.Key != "service" && a.Key != "instance":
			rest += ", " + a.String()
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	level := strings.ToLower(r.Level.String())
	if r.Level == slog.LevelWarn {
		level = "warning"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := fmt.Fprintf(h.w, "%s: %s%s\n", level, component, plain.Cell(r.Message+rest))
	return err
}

func (h *plainHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = slices.Concat(h.attrs, attrs)
	return &with
}

// WithGroup leaves the names of groups out.
func (h *plainHandler) WithGroup(string) slog.Handler { return h }

// fixed maps the attributes of the library's hooks to the program's keys.
func fixed(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch {
	case a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime:
		a.Value = slog.StringValue(a.Value.Time().UTC().Format(time.RFC3339Nano))
	case (a.Key == "elapsed" || a.Key == "duration" || a.Key == "took") && a.Value.Kind() == slog.KindDuration:
		a = slog.Float64("duration_seconds", a.Value.Duration().Seconds())
	case a.Value.Kind() == slog.KindDuration:
		a.Value = slog.StringValue(a.Value.Duration().String())
	case a.Key == "instrument" && a.Value.Kind() == slog.KindString:
		return instrument(a)
	case a.Value.Kind() == slog.KindAny && a.Value.Any() == nil:
		return slog.Attr{} // no error
	case a.Value.Kind() == slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(err.Error())
		}
	}
	return a
}

// instrument splits "binance:spot:BTCUSDT". A group without a name is written as its members.
func instrument(a slog.Attr) slog.Attr {
	parts := strings.SplitN(a.Value.String(), ":", 3)
	if len(parts) != 3 {
		return a
	}
	return slog.Attr{Value: slog.GroupValue(slog.String("exchange", parts[0]), slog.String("market", parts[1]), slog.String("symbol", parts[2]))}
}

// A unique handler writes each key once per line: a logger's attributes take precedence over a record's. JSON with
// duplicate keys is an error for some readers.
type unique struct {
	slog.Handler
	keys []string // by With, in the group that is open
}

// Handle omits the record's attributes that the logger has.
func (h unique) Handle(ctx context.Context, r slog.Record) error {
	repeated := func(a slog.Attr) bool { return slices.Contains(h.keys, a.Key) }
	again := false
	r.Attrs(func(a slog.Attr) bool {
		again = repeated(a)
		return !again
	})
	if !again {
		return h.Handler.Handle(ctx, r)
	}
	once := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if !repeated(a) {
			once.AddAttrs(a)
		}
		return true
	})
	return h.Handler.Handle(ctx, once)
}

func (h unique) WithAttrs(attrs []slog.Attr) slog.Handler {
	fresh := slices.DeleteFunc(slices.Clone(attrs), func(a slog.Attr) bool { return slices.Contains(h.keys, a.Key) })
	keys := slices.Clone(h.keys)
	for _, a := range fresh {
		keys = append(keys, a.Key)
	}
	return unique{h.Handler.WithAttrs(fresh), keys}
}

func (h unique) WithGroup(name string) slog.Handler {
	return unique{Handler: h.Handler.WithGroup(name)}
}
