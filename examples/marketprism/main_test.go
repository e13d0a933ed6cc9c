package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/intruder"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
)

// commandEnv is the environment variable that makes the test binary the program.
const commandEnv = "TEST_MARKETPRISM_COMMAND"

func TestMain(m *testing.M) {
	intruder.Main()
	if os.Getenv(commandEnv) != "" {
		main()
	}
	chtest.Main(m)
}

// A world holds the servers that processes share: an exchange, NATS and ClickHouse.
type world struct {
	*testing.T
	exchange *binancetest.Server
	server   *natsserver.Server
	bus      *engines.Bus
	store    *chstore.Store
	settings []string
	secrets  []string // settings for the environment, since other users see arguments
}

const symbol = "BTCUSDT"

func newWorld(t *testing.T) *world {
	t.Helper()
	db := chtest.Open(t)
	exchange, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols(symbol, "ETHUSDT"), Seed: 3})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, exchange.Close()) })
	server, err := natsserver.Start(natsserver.Config{StoreDir: t.TempDir()})
	require.NoError(t, err)
	w := &world{T: t, exchange: exchange, server: server}
	t.Cleanup(func() { _ = w.server.Close() })
	bus, err := engines.OpenBus(t.Context(), server.URL(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = bus.Close() })
	require.NoError(t, natsbus.EnsureStreams(t.Context(), bus.JS, natsbus.StreamsConfig{}))
	archive, err := engines.OpenArchive(t.Context(), db.DSN(), engines.Embedded{}, chstore.Config{Database: db.Name})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, archive.Close()) })
	require.NoError(t, archive.Store.Migrate(t.Context()))
	w.secrets = []string{"MARKETPRISM_NATS=" + server.URL(), "MARKETPRISM_CLICKHOUSE=" + db.DSN()}
	w.bus, w.store, w.settings = bus, archive.Store, []string{
		"--source", "live", "--rest-url", exchange.RESTURL(), "--stream-url", exchange.StreamURL(), "--symbols", symbol + ",ETHUSDT",
		"--database", db.Name, "--drain", "20s", "--page-listen", "", "--allow-root",
	}
	return w
}

// A process is a command in a separate process.
type process struct {
	*exec.Cmd
	t      *testing.T
	output *output
}

// An output can be read while a process writes to it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (w *world) start(args ...string) *process {
	w.Helper()
	self, err := os.Executable()
	require.NoError(w, err)
	p := &process{Cmd: exec.Command(self, slices.Concat(w.settings, args)...), t: w.T, output: &output{}}
	p.Env = append(append(os.Environ(), commandEnv+"=1"), w.secrets...)
	p.Stdout, p.Stderr = p.output, p.output
	require.NoError(w, p.Start())
	w.Cleanup(func() { _ = p.Process.Kill() }) // it has ended unless the test failed
	return p
}

// end signals the process and returns its exit code.
func (p *process) end(signal os.Signal) int {
	p.t.Helper()
	require.NoError(p.t, p.Process.Signal(signal))
	_ = p.Wait() // the exit code reports it
	return p.ProcessState.ExitCode()
}

// command runs a command to its end.
func (w *world) command(args ...string) (code int, output string) {
	w.Helper()
	p := w.start(args...)
	_ = p.Wait() // the exit code reports it
	return p.ProcessState.ExitCode(), p.output.String()
}

// eventually blocks until a condition holds.
func (w *world) eventually(reached func() bool, format string, args ...any) {
	w.Helper()
	require.Eventually(w, reached, time.Minute, 20*time.Millisecond, append([]any{format}, args...)...)
}

// archivedID returns the update id of the last book in the archive, 0 if there is none.
func (w *world) archivedID() int64 {
	book, err := w.store.BookAt(w.Context(), instrument(symbol), time.Now())
	if err != nil {
		return 0
	}
	return book.LastID()
}

func (w *world) exchangeID() int64 {
	snap, err := w.exchange.Book(symbol)
	require.NoError(w, err)
	return snap.LastID
}

func instrument(symbol string) marketprism.Instrument {
	return marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: symbol}
}

// Two collectors and an archiver in separate processes, with the archiver killed and restarted: each message of the
// bus is in the archive once, also after SIGTERM.
func TestRolesAsProcesses(t *testing.T) {
	short.Skip(t)
	w := newWorld(t)
	moving, still := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- w.exchange.Run(moving) }()

	collectors := []*process{w.start("collect", "--instance", "a"), w.start("collect", "--instance", "b")}
	archiver := w.start("archive")
	w.eventually(func() bool { return w.archivedID() > 0 }, "%s %s", collectors[0].output, archiver.output)
	for _, p := range append(collectors, archiver) {
		w.eventually(func() bool { return w.ready(p) }, "%s", p.output)
	}

	for p, series := range map[*process]string{
		collectors[0]: `marketprism_collector_connection_status{exchange="binance",market="spot"} 1`,
		archiver:      `marketprism_store_connection_status`,
	} {
		code, text := get(strings.Replace(healthURL.FindStringSubmatch(p.output.String())[1], "/readyz", "/metrics", 1))
		require.Equal(t, http.StatusOK, code)
		require.Contains(t, text, series)
	}

	require.Equal(t, -1, archiver.end(syscall.SIGKILL))
	dead, moved := w.archivedID(), w.exchangeID()
	w.eventually(func() bool { return w.exchangeID() > moved+20 }, "the exchange moves on")
	archiver = w.start("archive")
	w.eventually(func() bool { return w.archivedID() > max(dead, moved) }, "%s", archiver.output)

	still()
	require.NoError(t, <-stopped)
	for _, p := range collectors {
		require.Equal(t, 0, p.end(syscall.SIGTERM), p.output)
		for _, noise := range []string{"is broken", "binance: gap", "binance: disconnected", "context canceled"} {
			require.NotContains(t, p.output.String(), noise, "at a normal end")
		}
	}
	published := w.published()
	w.eventually(func() bool { return w.archivedRecords() >= len(published) }, "%d on the bus, %d stored\n%s", len(published), w.archivedRecords(), archiver.output)
	require.Equal(t, 0, archiver.end(syscall.SIGTERM), archiver.output)

	require.Equal(t, published, w.archived(), "every message of the bus once")
	events := 0
	for key, n := range published {
		if strings.Contains(key, ":snap:") || strings.Contains(key, ":gap:") {
			continue // each collector's own
		}
		require.Equal(t, 1, n, "two collectors give one copy of %s", key)
		events++
	}
	require.Greater(t, events, 40)
}

var healthURL = regexp.MustCompile(`health: (http://\S+/readyz)`)

// ready reports whether a process is ready, once it has printed its health address.
func (w *world) ready(p *process) bool {
	found := healthURL.FindStringSubmatch(p.output.String())
	if found == nil {
		return false
	}
	code, _ := get(found[1])
	return code == http.StatusOK
}

// get returns 0 if there is no answer.
func get(url string) (code int, text string) {
	answer, err := http.Get(url)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, ""
	}
	return answer.StatusCode, string(body)
}

// A collector without a bus keeps records on disk, also across a restart, and publishes them when the bus is back.
func TestCollectorOutlivesTheBus(t *testing.T) {
	short.Skip(t)
	w := newWorld(t)
	moving, still := context.WithCancel(t.Context())
	defer still()
	stopped := make(chan error, 1)
	go func() { stopped <- w.exchange.Run(moving) }()
	folder := t.TempDir()
	collector, archiver := w.start("collect", "--data", folder, "--drain", "1s"), w.start("archive")
	w.eventually(func() bool { return w.ready(collector) && w.archivedID() > 0 }, "%s", collector.output)

	_ = w.server.Close()
	w.eventually(func() bool { return strings.Contains(collector.output.String(), "bus away") }, "%s", collector.output)
	require.False(t, w.ready(collector), "not without a bus")
	still()
	require.NoError(t, <-stopped)
	require.Equal(t, 1, collector.end(syscall.SIGTERM), "within the bound, and with a word about what is left: %s", collector.output)
	require.Contains(t, collector.output.String(), "start the collector again with this folder")

	server, err := natsserver.Start(w.server.Config())
	require.NoError(t, err)
	w.server = server
	collector = w.start("collect", "--data", folder)
	w.eventually(func() bool { return w.ready(collector) && w.archivedID() == w.exchangeID() }, "%s\n%s", collector.output, archiver.output)
	require.Equal(t, 0, collector.end(syscall.SIGTERM), collector.output)
	require.Equal(t, 0, archiver.end(syscall.SIGTERM), archiver.output)
	var report chstore.Report
	report, err = w.store.Check(t.Context(), chstore.CheckQuery{Silence: -1})
	require.NoError(t, err)
	require.True(t, report.OK(), "no hole, although the bus was away: %s", report.String())
}

// published returns the number of messages on the bus by key.
func (w *world) published() map[string]int {
	keys := make(map[string]int)
	for _, stream := range []string{natsbus.BooksStream(""), natsbus.TradesStream("")} {
		s, err := w.bus.JS.Stream(w.Context(), stream)
		require.NoError(w, err)
		info, err := s.Info(w.Context())
		require.NoError(w, err)
		for sequence := info.State.FirstSeq; sequence <= info.State.LastSeq; sequence++ {
			msg, err := s.GetMsg(w.Context(), sequence)
			require.NoError(w, err)
			key, _, _ := strings.Cut(msg.Header.Get(jetstream.MsgIDHeader), "@") // of a snapshot or gap, when it was received follows
			keys[key]++
		}
	}
	return keys
}

// archived returns the number of records in the archive by key.
func (w *world) archived() map[string]int {
	keys := make(map[string]int)
	for _, name := range []string{symbol, "ETHUSDT"} {
		for rec, err := range w.store.Records(w.Context(), chstore.Query{Instrument: instrument(name)}) {
			require.NoError(w, err)
			keys[rec.Key()]++
		}
	}
	return keys
}

func (w *world) archivedRecords() (n int) {
	for _, count := range w.archived() {
		n += count
	}
	return n
}
