// Package logging is how the marketprism program logs: one JSON object a line with fixed keys, UTC times
// in nanoseconds, and no more than one line in half a minute for what repeats itself.
package logging

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// NewHandler returns a handler that writes JSON to w. Its keys are time, level, msg and what loggers add:
// service, instance, component, exchange, market, symbol, stream, consumer, table, reason, err and
// duration_seconds, which is what becomes of "elapsed", "duration" and
// "took"; an "instrument" becomes exchange, market and symbol.
func NewHandler(w io.Writer, level slog.Leveler) slog.Handler {
	return unique{Handler: slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: fixed})}
}

// fixed gives attributes of the library's hooks the program's keys.
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
		return slog.Attr{} // an error that there was none
	case a.Value.Kind() == slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(err.Error())
		}
	}
	return a
}

// instrument parts "binance:spot:BTCUSDT". A group without a name is written as its members.
func instrument(a slog.Attr) slog.Attr {
	parts := strings.SplitN(a.Value.String(), ":", 3)
	if len(parts) != 3 {
		return a
	}
	return slog.Attr{Value: slog.GroupValue(slog.String("exchange", parts[0]), slog.String("market", parts[1]), slog.String("symbol", parts[2]))}
}

// A unique handler writes no key twice in a line: what a logger was given by With stands, and not what one of its
// lines says of it once more. JSON with a key twice is read as an error by some, as the last value by others.
type unique struct {
	slog.Handler
	keys []string // by With, in the group that is open
}

// Handle leaves out the attributes that the logger has.
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
