package integration

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/natstest"
	"github.com/marketprism/marketprism/natsbus/presence"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/sinktest"
	"github.com/marketprism/marketprism/sink/tardis"
)

// A runner is a type with a Run, made for a test.
type runner struct {
	run     func(context.Context) error
	running func() bool // reports whether Run has done something that only it does
}

// TestRunEndsWithItsContext: every Run of the library returns nil after its context has ended, while it works
// and when it had ended before the call.
func TestRunEndsWithItsContext(t *testing.T) {
	short.Skip(t)
	rows := map[string]func(*testing.T) runner{
		"binance.DepthSyncer": func(t *testing.T) runner {
			books := newBooks(t, newClient(t, newExchange(t), binance.Config{}))
			return runner{books.Run, func() bool { return books.Stats().Snapshots > 0 }}
		},
		"binance.Recorder": func(t *testing.T) runner {
			r, err := binance.NewRecorder(binance.RecorderConfig{Dir: t.TempDir(), FlushEvery: time.Millisecond})
			require.NoError(t, err)
			client := newClient(t, newExchange(t), binance.Config{Recorder: r})
			return runner{r.Run, func() bool {
				_, _ = client.Depth(t.Context(), collected, 5)
				return r.Stats().Flushed > 0
			}}
		},
		"binance/binancetest.Server": func(t *testing.T) runner {
			srv := newExchange(t)
			before, err := srv.Book(collected)
			require.NoError(t, err)
			return runner{srv.Run, func() bool { now, err := srv.Book(collected); return err == nil && now.LastID > before.LastID }}
		},
		"natsbus.Consumer": func(t *testing.T) runner {
			js := newBus(t)
			c, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{Stream: natsbus.BooksStream(""), Durable: "test", FlushEvery: time.Millisecond})
			require.NoError(t, err)
			publish(t, js, sinktest.Records(1, 20)...)
			dst := new(sinktest.Recorder)
			return runner{func(ctx context.Context) error { return c.Run(ctx, dst) }, func() bool { return len(dst.Records()) > 0 }}
		},
		"natsbus/bookfeed.Feed": func(t *testing.T) runner {
			i := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: collected}
			feed, err := bookfeed.New(newBus(t), bookfeed.Config{Instruments: []marketprism.Instrument{i}})
			require.NoError(t, err)
			return runner{feed.Run, func() bool { _, ok := feed.Status(i); return ok }}
		},
		"natsbus/deadletter.AdvisoryWatch": func(t *testing.T) runner {
			js := newBus(t)
			w, err := deadletter.NewAdvisoryWatch(js, deadletter.AdvisoryConfig{})
			require.NoError(t, err)
			return runner{w.Run, func() bool {
				_, err := js.Consumer(t.Context(), deadletter.AdvisoriesStream(""), "dead-letters")
				return err == nil
			}}
		},
		"natsbus/deadletter.Redriver": func(t *testing.T) runner {
			r, err := deadletter.NewRedriver(deadletter.New(newBus(t), natsbus.DeadLettersStream("")), deadletter.RedriverConfig{})
			require.NoError(t, err)
			return runner{r.Run, func() bool { return r.Stats().Passes > 0 }}
		},
		"natsbus/presence.Heartbeat": func(t *testing.T) runner {
			sent := make(chan struct{}, 100)
			h, err := presence.NewHeartbeat(newBus(t).Conn(), presence.HeartbeatConfig{
				Service: "test", Instance: "1", Version: "1.0.0",
				Hooks: &presence.Hooks{Sent: func(presence.Beat) { sent <- struct{}{} }},
			})
			require.NoError(t, err)
			return runner{h.Run, func() bool { return len(sent) > 0 }}
		},
		"natsbus/presence.Watch": func(t *testing.T) runner {
			nc := newBus(t).Conn()
			w, err := presence.NewWatch(nc, presence.WatchConfig{})
			require.NoError(t, err)
			h, err := presence.NewHeartbeat(nc, presence.HeartbeatConfig{Service: "test", Instance: "1", Version: "1.0.0"})
			require.NoError(t, err)
			return runner{w.Run, func() bool {
				if len(w.Peers()) > 0 {
					return true
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				_ = h.Run(ctx) // sends a beat
				return false
			}}
		},
		"sink.Buffer": func(t *testing.T) runner {
			dst := new(sinktest.Recorder)
			b, err := sink.NewBuffer(dst, sink.BufferConfig{})
			require.NoError(t, err)
			require.NoError(t, b.Write(t.Context(), sinktest.Records(1, 3)))
			return runner{b.Run, func() bool { return len(dst.Records()) > 0 }}
		},
		"sink.Spill": func(t *testing.T) runner {
			dst := new(sinktest.Recorder)
			s, err := sink.NewSpill(dst, sink.SpillConfig{Dir: t.TempDir(), Encode: natsbus.AppendRecord, Decode: natsbus.DecodeRecord})
			require.NoError(t, err)
			t.Cleanup(func() { _ = s.Close() })
			require.NoError(t, s.Write(t.Context(), sinktest.Records(1, 3)))
			return runner{s.Run, func() bool { return len(dst.Records()) > 0 }}
		},
		"sink/dayfile.Writer": func(t *testing.T) runner {
			var written atomic.Int32
			w := newFiles(t, &dayfile.Hooks{Written: func(dayfile.WrittenInfo) { written.Add(1) }})
			t.Cleanup(func() { require.NoError(t, w.Close()) })
			recs := sinktest.Records(1, 1)
			next := recs[0].Clone()
			next.ReceivedAt = next.ReceivedAt.AddDate(0, 0, 2)
			require.NoError(t, w.Write(t.Context(), append(recs, next)))
			return runner{w.Run, func() bool { return written.Load() > 0 }}
		},
	}
	require.Equal(t, exportedWith(t, "Run"), slices.Sorted(maps.Keys(rows)), "a row for each type with a Run")
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			r := row(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- r.run(ctx) }()
			require.Eventually(t, r.running, patience, time.Millisecond)
			cancel()
			requireEnd(t, ended)
		})
		t.Run(name+" after the end", func(t *testing.T) {
			r := row(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			ended := make(chan error, 1)
			go func() { ended <- r.run(ctx) }()
			requireEnd(t, ended)
		})
	}
}

// newFiles returns a Writer of files in a folder of the test.
func newFiles(t *testing.T, hooks *dayfile.Hooks) *dayfile.Writer {
	t.Helper()
	w, err := dayfile.New(dayfile.Config{Dir: t.TempDir(), NoSync: true, Hooks: hooks}, tardis.Format{})
	require.NoError(t, err)
	return w
}

func requireEnd(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("Run has not returned")
	}
}

// TestCloseMayBeRepeated: every Close of the library returns nil, also when it is called again.
func TestCloseMayBeRepeated(t *testing.T) {
	rows := map[string]func(*testing.T) func() error{
		"binance.Stream": func(t *testing.T) func() error {
			s, err := newClient(t, newExchange(t), binance.Config{}).Dial(t.Context(), "btcusdt@depth")
			require.NoError(t, err)
			return s.Close
		},
		"binance/binancetest.Server": func(t *testing.T) func() error { return newExchange(t).Close },
		"chstore.Conn": func(t *testing.T) func() error {
			conn, err := chstore.NewConn(chtest.Open(t).Options())
			require.NoError(t, err)
			return conn.Close
		},
		"natsbus.Publisher": func(t *testing.T) func() error {
			p, err := natsbus.Open(t.Context(), natstest.Start(t).URL())
			require.NoError(t, err)
			require.NoError(t, p.Write(t.Context(), sinktest.Records(1, 3)))
			t.Cleanup(func() { require.True(t, p.JS.Conn().IsClosed()) })
			return p.Close
		},
		"natsbus/natstest.Server": func(t *testing.T) func() error { return natstest.Start(t).Close },
		"chstore.Store": func(t *testing.T) func() error {
			db := chtest.Open(t)
			s, err := chstore.Open(t.Context(), db.DSN(), chstore.Config{Database: db.Options().Auth.Database})
			require.NoError(t, err)
			return s.Close
		},
		"sink.Spill": func(t *testing.T) func() error {
			s, err := sink.NewSpill(new(sinktest.Recorder), sink.SpillConfig{Dir: t.TempDir(), Encode: natsbus.AppendRecord, Decode: natsbus.DecodeRecord})
			require.NoError(t, err)
			return s.Close
		},
		"sink/dayfile.Writer": func(t *testing.T) func() error { return newFiles(t, nil).Close },
	}
	require.Equal(t, exportedWith(t, "Close"), slices.Sorted(maps.Keys(rows)), "a row for each type with a Close")
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			closeIt := row(t)
			require.NoError(t, closeIt())
			require.NoError(t, closeIt())
		})
	}
}

// exportedWith returns the exported types of the library with a method of that name, as "package.Type".
func exportedWith(t *testing.T, method string) (found []string) {
	t.Helper()
	const root = "../.."
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (name[0] == '.' || name == "internal" || name == "examples" || name == "testdata"):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg, _ := filepath.Rel(root, filepath.Dir(path))
		for _, decl := range file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Name.Name == method {
				recv := fn.Recv.List[0].Type
				if star, ok := recv.(*ast.StarExpr); ok {
					recv = star.X
				}
				if ident, ok := recv.(*ast.Ident); ok && ident.IsExported() {
					found = append(found, filepath.ToSlash(pkg)+"."+ident.Name)
				}
			}
		}
		return nil
	}))
	slices.Sort(found)
	return found
}

func newExchange(t *testing.T) *binancetest.Server {
	t.Helper()
	srv, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols(collected), Tick: 10 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { _ = srv.Close() })
	return srv
}

func newClient(t *testing.T, srv *binancetest.Server, cfg binance.Config) *binance.Client {
	t.Helper()
	cfg.Endpoints = srv.Endpoints()
	cfg.HTTPClient = new(http.Client)
	client, err := binance.NewClient(cfg)
	require.NoError(t, err)
	return client
}

func newBooks(t *testing.T, client *binance.Client) *binance.DepthSyncer {
	t.Helper()
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{Symbols: []string{collected}})
	require.NoError(t, err)
	return books
}

// newBus returns a connection to a new server with the streams of natsbus.
func newBus(t *testing.T) jetstream.JetStream {
	t.Helper()
	js := natstest.Start(t).JetStream(t)
	require.NoError(t, natsbus.EnsureStreams(t.Context(), js, natsbus.StreamsConfig{}))
	return js
}

func publish(t *testing.T, js jetstream.JetStream, recs ...marketprism.Record) {
	t.Helper()
	p, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
	require.NoError(t, err)
	require.NoError(t, p.Write(t.Context(), recs))
	require.NoError(t, p.Close())
}
