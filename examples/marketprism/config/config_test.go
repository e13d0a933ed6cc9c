package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/config"
)

func load(t *testing.T, file string, env map[string]string, args ...string) (*config.Settings, error) {
	t.Helper()
	path := ""
	if file != "" {
		path = filepath.Join(t.TempDir(), "marketprism.yaml")
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
	}
	s := config.New()
	require.NoError(t, s.Flags().Parse(args))
	var environ []string
	for name, text := range env {
		environ = append(environ, name+"="+text)
	}
	return s, s.Load(path, environ)
}

func TestFlagsBeforeEnvironmentBeforeFileBeforeDefaults(t *testing.T) {
	const file = "drain: 1s\nfor: 1s\nspeed: 3\n"
	env := map[string]string{"MARKETPRISM_DRAIN": "2s", "MARKETPRISM_FOR": "2s"}
	s, err := load(t, file, env, "--drain", "3s")
	require.NoError(t, err)
	require.Equal(t, 3*time.Second, s.Config.Drain)
	require.Equal(t, 2*time.Second, s.Config.For)
	require.Equal(t, 3.0, s.Config.Speed)
	require.Equal(t, 30*time.Second, s.Config.SnapshotEvery)
	for name, want := range map[string]config.Origin{
		"drain": config.FromFlag, "for": config.FromEnv, "speed": config.FromFile, "snapshot-every": config.FromDefault,
	} {
		require.Equal(t, want, s.Origin(name), name)
	}
}

func TestClassicDSN(t *testing.T) {
	env := map[string]string{"CLICKHOUSE_DSN": "a:1"}
	s, err := load(t, "clickhouse: c:3\n", env)
	require.NoError(t, err)
	require.Equal(t, "a:1", s.Config.ClickHouse)
	env["MARKETPRISM_CLICKHOUSE"] = "b:2"
	s, err = load(t, "", env)
	require.NoError(t, err)
	require.Equal(t, "b:2", s.Config.ClickHouse)
}

func TestFileErrorsNameTheLine(t *testing.T) {
	for file, want := range map[string]string{
		"drain: 1s\nwindow: 3\n":          `:2: unknown setting "window"`,
		"drain: 1s\n\ndrain: 2s\n":        `:3: drain is set in line 1 already`,
		"source: sim\ndrain: soon\n":      `:2: drain: `,
		"symbols: {A: B}\n":               `:1: symbols: want one value`,
		"for: [1s, 2s]\n":                 `:1: for: want one value`,
		"- a\n":                           `:1: want lines`,
		"a: [\n":                          `yaml`,
		"drain: 1s\n---\ndrain: 2s\n":     `more than one document`,
		"nats: 'nats://u:hush@h'\nx: 1\n": `:2: unknown`,
	} {
		_, err := load(t, file, nil)
		var bad *config.FileError
		require.ErrorAs(t, err, &bad, file)
		require.ErrorContains(t, err, want, file)
		require.NotContains(t, err.Error(), "hush")
	}
	_, err := load(t, "window: 3\n", nil)
	require.ErrorIs(t, err, config.ErrUnknown)
}

func TestInvalidSettings(t *testing.T) {
	for _, args := range [][]string{
		{"--source", "paper"}, {"--source", "recording"}, {"--recording", "x"}, {"--symbols", ""}, {"--for", "-1s"}, {"--drain", "0s"},
		{"--market", "options"}, {"--rest-url", "http://x"}, {"--rest-url", "http://x", "--stream-url", "ws://x"}, {"--redundancy", "3"},
		{"--keep-books", "-1s"}, {"--keep-trades", "-1s"}, {"--cold-after", "-1s"}, {"--instance", "a b"}, {"--speed", "-1"}, {"--bus-replicas", "0"}, {"--partition", "year"},
		{"--http-token", "hush"}, {"--http-token", "hush hush hush hush hush"},
		{"--clickhouse-listen", "9000"}, {"--clickhouse-listen", "localhost:9000"}, {"--clickhouse-listen", "127.0.0.1:9000", "--clickhouse", "a:1"},
		{"--proxy", "http://a:1"}, {"--ca-file", "x"}, {"--source", "live", "--proxy", "ftp://u:hush@a"}, {"--source", "live", "--proxy", "http://u:hush@[::1"},
	} {
		_, err := load(t, "", nil, args...)
		require.Error(t, err, args)
		require.NotContains(t, err.Error(), "hush")
	}
}

func TestStore(t *testing.T) {
	s, err := load(t, "keep-books: 48h\nkeep-trades: 720h\ncold-policy: tiered\ncold-after: 24h\nclickhouse-cluster: prod\npartition: week\nreplacing: true\n", nil)
	require.NoError(t, err)
	cfg := s.Config.Store()
	require.Equal(t, "prod", cfg.Cluster.Name)
	require.Equal(t, chstore.Week, cfg.Partition)
	require.Equal(t, chstore.ReplacingMergeTree, cfg.Engine)
	require.Equal(t, "marketprism", cfg.Database)
	const day = 24 * time.Hour
	require.Equal(t, chstore.TTL{Depth: 2 * day, Snapshots: 2 * day, Tickers: 2 * day, Gaps: 2 * day, Trades: 30 * day}, cfg.TTL)
	require.Equal(t, chstore.Tiers{Policy: "tiered", After: chstore.TTL{Depth: day, Snapshots: day, Tickers: day, Gaps: day, Trades: day}}, cfg.Tiers)
}

// A setting of a partition is called as chstore calls it, and the default is the library's own.
func TestPartitions(t *testing.T) {
	for _, span := range []chstore.Partition{chstore.Hour, chstore.Day, chstore.Week, chstore.Month} {
		s, err := load(t, "", nil, "--partition", span.String())
		require.NoError(t, err)
		require.Equal(t, span, s.Config.Store().Partition)
	}
	s, err := load(t, "", nil)
	require.NoError(t, err)
	require.Zero(t, s.Config.Store().Partition)
	require.Equal(t, chstore.MergeTree, s.Config.Store().Engine)
}

func TestListsInAFile(t *testing.T) {
	s, err := load(t, "symbols:\n  - A\n  - B\n", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"A", "B"}, s.Config.Symbols)
	s, err = load(t, "# nothing\n", nil)
	require.NoError(t, err)
	require.Len(t, s.Config.Symbols, 5)
}

// What is printed reads back as the same settings, and has no secret in it.
func TestPrint(t *testing.T) {
	s, err := load(t, "", nil, "--nats", "nats://user:hush@a:1,nats://token-hush@b:2", "--clickhouse", "clickhouse://u:hush@h:9000?secret=hush",
		"--http-token", "hush-hush-hush-hush", "--symbols", "A,B", "--drain", "90s", "--source", "live", "--proxy", "socks5://user:hush@a:1")
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, s.Print(&out))
	require.NotContains(t, out.String(), "hush")
	out = *bytes.NewBuffer(bytes.Replace(out.Bytes(), []byte("http-token: xxxxx"), []byte("http-token: "+s.Config.HTTPToken), 1))
	require.Regexp(t, `(?m)^drain: 1m30s +# flag$`, out.String())
	require.Regexp(t, `(?m)^nats: nats://xxxxx@a:1,nats://xxxxx@b:2 +# flag$`, out.String())

	again, err := load(t, out.String(), nil)
	require.NoError(t, err)
	want := s.Config
	want.NATS, want.ClickHouse, want.Proxy = again.Config.NATS, again.Config.ClickHouse, again.Config.Proxy
	require.Equal(t, want, again.Config)
}

// A password may contain a comma, which also separates addresses.
func TestPrintMasksPasswordsWithCommas(t *testing.T) {
	for address, want := range map[string]string{
		"clickhouse://u:hu,sh@h:9000":               "clickhouse://xxxxx@h:9000",
		"clickhouse://u:hush@h:9000,i:9000/db":      "clickhouse://xxxxx@h:9000,i:9000/db",
		"clickhouse://u:hu,sh,@h:9000?secret=hu,sh": "clickhouse://xxxxx@h:9000?xxxxx",
		"clickhouse://u:hu,sh@ nowhere":             "xxxxx",
	} {
		s, err := load(t, "", nil, "--clickhouse", address)
		if want == "xxxxx" {
			require.EqualError(t, err, `--clickhouse: want HOST:PORT of the native protocol, or clickhouse://[USER:PASSWORD@]HOST:PORT[?OPTIONS], got "(hidden)"`)
		} else {
			require.NoError(t, err)
		}
		var out bytes.Buffer
		require.NoError(t, s.Print(&out))
		require.Contains(t, out.String(), "clickhouse: "+want+" ", address)
		require.NotRegexp(t, "hu|sh@", out.String(), address)
	}
}

// Data that is not Binance's own is called so.
func TestOrigin(t *testing.T) {
	for want, args := range map[string][]string{
		"SIMULATED": nil, "RECORDED": {"--source", "recording", "--recording", "x"}, "": {"--source", "live"},
		"from testnet.example:1": {"--source", "live", "--rest-url", "https://testnet.example:1/", "--stream-url", "wss://testnet.example"},
	} {
		s, err := load(t, "", nil, args...)
		require.NoError(t, err)
		require.Equal(t, want, s.Config.Origin())
	}
}

// What differs from the defaults is printed with these and with where it was set.
func TestPrintDiff(t *testing.T) {
	s, err := load(t, "# of this host\ndrain: 1s\nspeed: 1\nmarket: usdm\n", map[string]string{"MARKETPRISM_MARKET": "coinm", "CLICKHOUSE_DSN": "clickhouse://u:hush@h:9000"},
		"--symbols", "btcusd_perp", "--for", "20s")
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, s.PrintDiff(&out))
	require.Regexp(t, `^clickhouse: clickhouse://xxxxx@h:9000 +# CLICKHOUSE_DSN; default none
drain: 1s +# \S+/marketprism.yaml:2; default 30s
market: coinm +# MARKETPRISM_MARKET; default spot
symbols: BTCUSD_PERP +# --symbols; default BTCUSDT,ETHUSDT,BNBUSDT,SOLUSDT,XRPUSDT
$`, out.String())

	s, err = load(t, "", nil)
	require.NoError(t, err)
	out.Reset()
	require.NoError(t, s.PrintDiff(&out))
	require.Equal(t, "# all settings have their defaults\n", out.String())

	s, err = load(t, "speed: 1\n", nil)
	require.NoError(t, err)
	var all bytes.Buffer
	require.NoError(t, s.Print(&all))
	require.Contains(t, all.String(), "speed: \"1\"")
}

// A variable that is no setting is an error, but for those that Kubernetes makes of services.
func TestUnknownVariables(t *testing.T) {
	_, err := load(t, "", map[string]string{"MARKETPRISM_DRIAN": "1s"})
	require.ErrorIs(t, err, config.ErrUnknownEnv)
	require.EqualError(t, err, "MARKETPRISM_DRIAN: no setting has this variable; did you mean MARKETPRISM_DRAIN?")
	_, err = load(t, "", map[string]string{
		"MARKETPRISM_SERVICE_HOST": "10.0.0.11", "MARKETPRISM_SERVICE_PORT": "9464", "MARKETPRISM_SERVICE_PORT_HEALTH": "9464", "MARKETPRISM_PORT": "tcp://10.0.0.11:9464",
		"MARKETPRISM_COLLECT_PORT_9464_TCP": "tcp://10.0.0.11:9464", "MARKETPRISM_PORT_9464_TCP_ADDR": "10.0.0.11", "MARKETPRISM_PORT_9464_TCP_PROTO": "tcp",
	})
	require.NoError(t, err)
}

func TestClosest(t *testing.T) {
	names := []string{"run", "collect", "archive", "exchange", "check", "book-at", "dry-run", "trade"}
	for word, want := range map[string]string{
		"rum": "run", "nur": "", "chekc": "check", "CHECK": "check", "colect": "collect", "book": "book-at", "arch": "archive", "xyz": "", "r": "", "": "", "dryrun": "dry-run",
		"trades": "trade", "exchagne": "exchange",
	} {
		require.Equal(t, want, config.Closest(word, names), word)
	}
}
