package bookfeed_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/orderbook"
)

// Every method of a Feed works from the Handler, every hook and a View, but for Ready, which returns ErrReentrant where it
// would wait for the goroutine that calls it.
func TestMethodsFromCallbacks(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 30)
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))

	var feed *bookfeed.Feed
	var enter func(callback string)
	calls := map[string]func(callback string) error{
		"Instruments": func(string) error { feed.Instruments(); return nil },
		"Status":      func(string) error { feed.Status(v.Instrument); return nil },
		"Best":        func(string) error { _, _, err := feed.Best(v.Instrument); return err },
		"Ready":       func(string) error { return feed.Ready(t.Context()) },
		"Run":         func(string) error { return feed.Run(t.Context()) },
		"View": func(callback string) error {
			return feed.View(v.Instrument, func(*orderbook.Book, bookfeed.Status) { enter("View in " + callback) })
		},
	}
	var mu sync.Mutex
	entered := make(map[string]chan struct{}) // closed when every method has returned
	done := func(callback string) chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		if entered[callback] == nil {
			entered[callback] = make(chan struct{})
		}
		return entered[callback]
	}
	begun := make(map[string]bool)
	enter = func(callback string) {
		mu.Lock()
		again := begun[callback]
		begun[callback] = true
		mu.Unlock()
		if again || strings.Count(callback, " in ") > 1 {
			return
		}
		for name, call := range calls {
			switch err := call(callback); {
			case err == nil, errors.Is(err, natsbus.ErrRunning), errors.Is(err, bookfeed.ErrNotSynced) && (name == "View" || name == "Best"):
			case errors.Is(err, bookfeed.ErrReentrant) && errors.Is(err, bookfeed.ErrNotSynced) && name == "Ready":
			default:
				t.Errorf("%s in %s: %v", name, callback, err)
			}
		}
		close(done(callback))
	}
	hooks := new(bookfeed.Hooks)
	names := []string{"Handler"}
	fields := reflect.ValueOf(hooks).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		names = append(names, name)
		fields.Field(i).Set(reflect.MakeFunc(fields.Field(i).Type(), func([]reflect.Value) []reflect.Value {
			enter(name)
			return nil
		}))
	}
	feed, err := bookfeed.New(b.JS, bookfeed.Config{
		Instruments: []marketprism.Instrument{v.Instrument}, Hooks: hooks,
		Handler: func(context.Context, *marketprism.Record) error { enter("Handler"); return nil },
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- feed.Run(ctx) }()
	bustest.Receive(t, done("Synced"))
	require.NoError(t, feed.View(v.Instrument, func(*orderbook.Book, bookfeed.Status) { enter("View in the program") }))

	b.Publish(t, []marketprism.Record{v.Snapshot()})
	b.Publish(t, v.Updates(1))
	bustest.Receive(t, done("Audited"))
	_, err = b.JS.Publish(t.Context(), natsbus.Subject("", v.Instrument, marketprism.KindUpdate), []byte("{}"))
	require.NoError(t, err)
	bustest.Receive(t, done("Undecodable"))
	require.NoError(t, b.JS.DeleteStream(t.Context(), natsbus.BooksStream("")))
	for _, name := range names {
		bustest.Receive(t, done(name))
	}
	cancel()
	require.NoError(t, bustest.Receive(t, ended))

	for i := range reflect.TypeFor[*bookfeed.Feed]().NumMethod() {
		require.Contains(t, calls, reflect.TypeFor[*bookfeed.Feed]().Method(i).Name)
	}
	config := reflect.TypeFor[bookfeed.Config]()
	for i := range config.NumField() {
		if f := config.Field(i); f.Type.Kind() == reflect.Func && !slices.Contains(names, f.Name) {
			t.Errorf("%s is not in this test", f.Name)
		}
	}
}
