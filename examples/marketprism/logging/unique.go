package logging

import (
	"context"
	"log/slog"
	"slices"
)

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
