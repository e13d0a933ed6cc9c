package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A badInput is a command line, with variables NAME=VALUE before it, that fails before anything is started.
type badInput struct {
	line string // words are separated by spaces; '' is an empty one, _ in a word a space
	want string // the first line on standard error, after "marketprism: "
}

// hint is the second line after a usage error.
const hint = "marketprism help lists the commands, marketprism COMMAND --help-all the settings\n"

// badInputs have DIR for a folder with FILE, a file of text, and the settings in bad.yaml.
var badInputs = []badInput{
	{`nonsense`, `unknown command "nonsense"`},
	{`chekc`, `unknown command "chekc"; did you mean marketprism check?`},
	{`book`, `unknown command "book"; did you mean marketprism book-at?`},
	{`help rum`, `unknown command "rum"; did you mean marketprism run?`},
	{`help dlq lst`, `unknown command "dlq lst"; did you mean marketprism dlq list?`},
	{`dlq lst`, `unknown command "dlq lst"; did you mean marketprism dlq list?`},
	{`dlq 17`, `unknown command "dlq 17"`},
	{`migrate pln`, `unknown command "migrate pln"; did you mean marketprism migrate plan?`},
	{`config prnt`, `unknown command "config prnt"; did you mean marketprism config print?`},
	{`run extra`, `run: want no arguments, got "extra"`},
	{`version 1`, `version: want no arguments, got "1"`},
	{`book-at`, `book-at: want SYMBOL, got nothing`},
	{`book-at A B --at now`, `book-at: want SYMBOL, got "A B"`},
	{`dlq show`, `dlq show: want NUMBER, got nothing`},
	{`record`, `record: want DIR, got nothing`},
	{`run --sorce sim`, `unknown flag --sorce; did you mean --source?`},
	{`run -source sim`, `unknown flag -source; did you mean --source?`},
	{`run --nonsense`, `unknown flag --nonsense`},
	{`check --jsn`, `unknown flag --jsn; did you mean --json?`},
	{`dlq redrive --dryrun`, `unknown flag --dryrun; did you mean --dry-run?`},
	{`run --for`, `--for: want a duration such as 90s or 24h, 0 or more, got nothing`},
	{`run --for soon`, `--for: want a duration such as 90s or 24h, 0 or more, got "soon"`},
	{`run --for 20`, `--for: want a duration such as 90s or 24h, 0 or more, got "20"`},
	{`run --for -1s`, `--for: want a duration such as 90s or 24h, 0 or more, got "-1s"`},
	{`run --drain 0s`, `--drain: want a duration such as 30s, above 0, got "0s"`},
	{`run --snapshot-every -1s`, `--snapshot-every: want a duration such as 30s, 0 or more, got "-1s"`},
	{`run --source paper`, `--source: want sim, live or recording, got "paper"`},
	{`run --source recording`, `--recording: want the file to play back, since source is recording, got nothing`},
	{`run --recording x`, `--recording: want none, since source is sim, got "x"`},
	{`run --market options`, `--market: want spot, usdm or coinm, got "options"`},
	{`run --symbols ''`, `--symbols: want one symbol at least, or all-trading, got nothing`},
	{`run --symbols btcusdt,BTCUSDT`, `--symbols: want each symbol once, got "BTCUSDT,BTCUSDT"`},
	{`run --symbols BTC/USDT`, `--symbols: want symbols of letters, digits and _, separated by commas, such as BTCUSDT,ETHUSDT, got "BTC/USDT"`},
	{`run --symbols "BTC`, `--symbols: want symbols of letters, digits and _, separated by commas, such as BTCUSDT,ETHUSDT, got "\"BTC"`},
	{`run --all-trading=maybe`, `--all-trading: want true or false, got "maybe"`},
	{`run --speed fast`, `--speed: want a number, 0 or more, got "fast"`},
	{`run --speed -1`, `--speed: want a number, 0 or more, got "-1"`},
	{`run --sim-rate NaN`, `--sim-rate: want a number, 0 or more, got "NaN"`},
	{`run --sim-rate Inf`, `--sim-rate: want a number, 0 or more, got "+Inf"`},
	{`run --redundancy 3`, `--redundancy: want 1 or 2, got "3"`},
	{`run --redundancy two`, `--redundancy: want 1 or 2, got "two"`},
	{`run --source live --rest-url http://x`, `--stream-url: want the websocket host that belongs to rest-url, got nothing`},
	{`run --source live --rest-url x --stream-url ws://x`, `--rest-url: want http:// or https://HOST[:PORT], got "(hidden)"`},
	{`run --source live --rest-url http://x --stream-url http://x`, `--stream-url: want ws:// or wss://HOST[:PORT], got "http://x"`},
	{`run --rest-url http://x --stream-url ws://x`, `--rest-url: want none, since source is sim, got "http://x"`},
	{`run --proxy http://a:1`, `--proxy: want none, since source is sim, got "http://a:1"`},
	{`run --source live --proxy ftp://user:hush@a`, `--proxy: want http, https, socks5 or socks5h://[USER:PASSWORD@]HOST[:PORT], got "(hidden)"`},
	{`run --ca-file x`, `--ca-file: want none, since source is sim, got "x"`},
	{`run --bus-bytes 1GB`, `--bus-bytes: want a whole number of bytes, 1048576 or more, got "1GB"`},
	{`run --bus-bytes 1`, `--bus-bytes: want a whole number of bytes, 1048576 or more, got "1"`},
	{`run --bus-bytes 99999999999999999999`, `--bus-bytes: want a whole number of bytes, 1048576 or more, got "99999999999999999999"`},
	{`run --bus-age 1m`, `--bus-age: want a duration such as 24h, 5m0s or more, got "1m0s"`},
	{`run --bus-replicas 0`, `--bus-replicas: want 1 to 5, got "0"`},
	{`run --nats http://user:hush@h:4222`, `--nats: want nats://, tls://, ws:// or wss://[USER:PASSWORD@]HOST[:PORT], several separated by commas, got "http://xxxxx@h:4222"`},
	{`run --clickhouse http://user:hush@h:8123`, `--clickhouse: want HOST:PORT of the native protocol, or clickhouse://[USER:PASSWORD@]HOST:PORT[?OPTIONS], got "http://xxxxx@h:8123"`},
	{`run --clickhouse localhost`, `--clickhouse: want HOST:PORT of the native protocol, or clickhouse://[USER:PASSWORD@]HOST:PORT[?OPTIONS], got "(hidden)"`},
	{`run --clickhouse-listen 9000`, `--clickhouse-listen: want IP:PORT, such as 127.0.0.1:9000, and no setting clickhouse, got "9000"`},
	{`run --database a-b`, `--database: want letters, digits and _, got "a-b"`},
	{`run --partition year`, `--partition: want hour, day, week or month, or nothing, which leaves it to each table, got "year"`},
	{`run --keep-books 30d`, `--keep-books: want a duration such as 720h, 0 or more, got "30d"`},
	{`run --keep-trades -1h`, `--keep-trades: want a duration such as 720h, 0 or more, got "-1h0m0s"`},
	{`run --cold-after -1h`, `--cold-after: want a duration such as 720h, 0 or more, got "-1h0m0s"`},
	{`run --instance a_b_c.d`, `--instance: want letters, digits, - and _, got "a b c.d"`},
	{`run --health-listen 8080`, `--health-listen: want IP:PORT or HOST:PORT, such as 127.0.0.1:8080, or nothing, which means off, got "8080"`},
	{`run --page-listen 127.0.0.1:http`, `--page-listen: want IP:PORT or HOST:PORT, such as 127.0.0.1:8080, or nothing, which means off, got "127.0.0.1:http"`},
	{`run --page-listen 127.0.0.1:99999`, `--page-listen: want IP:PORT or HOST:PORT, such as 127.0.0.1:8080, or nothing, which means off, got "127.0.0.1:99999"`},
	{`run --http-hosts https://x`, `--http-hosts: want host names without scheme and port, separated by commas, got "https://x"`},
	{`run --http-token hush`, `--http-token: want 16 to 256 letters, digits and characters of -._~+/=, got "(hidden)"`},
	{`run --log-level loud`, `--log-level: want debug, info, warn or error, got "loud"`},
	{`run --data FILE`, `--data: want a folder, not a file, got "DIR/FILE"`},
	{`run --data DIR/FILE/below`, `--data DIR/FILE/below: not a directory`},
	{`run --config DIR/none.yaml`, `open DIR/none.yaml: no such file or directory; marketprism config print > FILE writes one with all settings`},
	{`run --config DIR/unknown.yaml`, `DIR/unknown.yaml:3: unknown setting "markt"; did you mean market?; marketprism config print lists them all`},
	{`run --config DIR/twice.yaml`, `DIR/twice.yaml:2: drain is set in line 1 already`},
	{`run --config DIR/value.yaml`, `DIR/value.yaml:1: drain: want a duration such as 30s, above 0, got "soon"`},
	{`run --config DIR/market.yaml`, `DIR/market.yaml:2: market: want spot, usdm or coinm, got "options"`},
	{`run --config DIR/broken.yaml`, `DIR/broken.yaml: line 1: did not find expected node content`},
	{`run --config DIR/list.yaml`, `DIR/list.yaml:1: for: want one value`},
	{`MARKETPRISM_DRIAN=3s run`, `MARKETPRISM_DRIAN: no setting has this variable; did you mean MARKETPRISM_DRAIN?`},
	{`MARKETPRISM_WINDOW=3 run`, `MARKETPRISM_WINDOW: no setting has this variable`},
	{`MARKETPRISM_DRAIN=soon run`, `MARKETPRISM_DRAIN: want a duration such as 30s, above 0, got "soon"`},
	{`MARKETPRISM_MARKET=spott run`, `MARKETPRISM_MARKET: want spot, usdm or coinm, got "spott"`},
	{`CLICKHOUSE_DSN=http://user:hush@h:1 check`, `CLICKHOUSE_DSN: want HOST:PORT of the native protocol, or clickhouse://[USER:PASSWORD@]HOST:PORT[?OPTIONS], got "http://xxxxx@h:1"`},
	{`collect`, `no address of NATS: give --nats nats://HOST:4222, or set nats in the file; only the command run has one embedded, which dlq and status find by --data FOLDER while it runs`},
	{`archive`, `no address of NATS: give --nats nats://HOST:4222, or set nats in the file; only the command run has one embedded, which dlq and status find by --data FOLDER while it runs`},
	{`status`, `no address of NATS: give --nats nats://HOST:4222, or set nats in the file; only the command run has one embedded, which dlq and status find by --data FOLDER while it runs`},
	{`status --data DIR`, `--data: want the folder of a run that has not ended, or --nats nats://HOST:4222, got "DIR"`},
	{`status --nats nats://127.0.0.1:1 --listen 0s`, `--listen: want a duration above 0, got "0s"`},
	{`check`, `no ClickHouse: give --clickhouse HOST:9000, or --data FOLDER of an earlier run`},
	{`check --data DIR/none`, `--data: want the folder of an earlier run or archive, with an embedded ClickHouse, got "DIR/none"`},
	{`check --from yesterday`, `--from: want a time such as 2026-01-31T12:00:00Z, now, or -1h for an hour ago, got "yesterday"`},
	{`check --from 2026-01-02T00:00:00Z --to 2026-01-01T00:00:00Z`, `--to: want a moment after --from, 2026-01-02T00:00:00Z, got "2026-01-01T00:00:00Z"`},
	{`check BTC/USDT --clickhouse 127.0.0.1:1`, `SYMBOL: want letters, digits and _, such as BTCUSDT, got "BTC/USDT"`},
	{`book-at BTCUSDT`, `--at: want a time such as 2026-01-31T12:00:00Z, now, or -1h for an hour ago, got nothing`},
	{`book-at BTCUSDT --at tomorrow`, `--at: want a time such as 2026-01-31T12:00:00Z, now, or -1h for an hour ago, got "tomorrow"`},
	{`book-at BTCUSDT --at now --levels -5`, `--levels: want 1 or more, or -1, which means all, got "-5"`},
	{`replay --kinds trad`, `--kinds: want depth, snap, gap, trade, aggtrade or bbo, got "trad"; did you mean trade?`},
	{`replay --kinds x`, `--kinds: want depth, snap, gap, trade, aggtrade or bbo, got "x"`},
	{`replay --pace -1`, `--pace: want a number, 0 or more, got "-1"`},
	{`replay --books`, `--from: want a moment, at which --books begins, got nothing`},
	{`dlq show x --nats nats://127.0.0.1:1`, `NUMBER: want the number of a letter, as marketprism dlq list shows it, got "x"`},
	{`dlq list 0 --nats nats://127.0.0.1:1`, `NUMBER: want the number of a letter, as marketprism dlq list shows it, got "0"`},
	{`dlq list --reason refuse`, `--reason: want decode, refused, exhausted, max_deliveries or terminated, got "refuse"; did you mean refused?`},
	{`dlq list --subject a..b`, `--subject: want a subject of NATS, such as 'md.binance.*.depth.>', got "a..b"`},
	{`dlq redrive --max -1`, `--max: want 0, which means no limit, or more, got "-1"`},
	{`dlq redrive --rate -7`, `--rate: want 1 or more, or -1, which means no limit, got "-7"`},
	{`dlq redrive --max-redrives 0`, `--max-redrives: want 1 or more, or -1, which means no limit, got "0"`},
	{`soak --count 0`, `--count: want 1 or more, got "0"`},
	{`soak --for 0s`, `--for: want a duration above 0, got "0s"`},
	{`record FILE`, `DIR: want a folder, not a file, got "DIR/FILE"`},
	{`run -x`, `unknown flag -x`},
	{`run --=x`, `bad flag syntax: --=x`},
	{`run --help=maybe`, `--help: want true or false, got "maybe"`},
	{`run --config DIR`, `read DIR: is a directory`},
	{`run --config FILE`, `DIR/FILE:1: want lines of the form setting: value`},
	{`run --config`, `--config: want a value, got nothing`},
	{`run --source recording --recording DIR/none.ndjson.gz`, `--recording DIR/none.ndjson.gz: no such file or directory`},
	{`collect --nats nats://127.0.0.1:1 --nats-cert FILE`, `--nats-cert: want a certificate and, in nats-key, its key, got "DIR/FILE"`},
	{`collect --nats nats://127.0.0.1:1 --nats-inbox a..b`, `--nats-inbox: want letters, digits, - and _, with dots between, such as _INBOX.collector, got "a..b"`},
	{`status --nats nats://127.0.0.1:1 --nats-nkey FILE --nats-credentials FILE`, `--nats-nkey: want none, since nats-credentials is set, got "DIR/FILE"`},
	{`status --nats nats://127.0.0.1:1 --nats-nkey FILE`, `nats-nkey DIR/FILE: want the seed of a user: nkeys: no nkey seed found`},
	{`collect --nats nats://127.0.0.1:1 --sign-key DIR/none.pem`, `--sign-key DIR/none.pem: no such file or directory`},
	{`check --clickhouse 127.0.0.1:1 --clickhouse-ca FILE`, `clickhouse-ca: DIR/FILE has no certificate in PEM`},
	{`run --source live --ca-file DIR/none.pem`, `--ca-file DIR/none.pem: no such file or directory`},
	{`run --source live --ca-file FILE`, `ca-file: DIR/FILE has no certificate in PEM`},
	{`check --clickhouse 127.0.0.1:1`, `no ClickHouse to use at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused (start one there, or give the address of another: clickhouse://user:password@host:9000, the port of the native protocol)`},
	{`dlq list --nats nats://someone:hush@127.0.0.1:1`, `no connection to NATS at nats://127.0.0.1:1: no servers available for connection; is the address right, and a server running there (nats-server -js)?`},
	{`run --page-listen 192.0.2.1:80`, `--page-listen 192.0.2.1:80: cannot assign requested address (give another address; port 0 is a free one)`},
}

// Each bad input is refused with one line that names what was given, its value and what is allowed, and makes nothing.
func TestBadInputs(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"FILE": "text\n", "unknown.yaml": "drain: 1s\n\nmarkt: spot\n", "twice.yaml": "drain: 1s\ndrain: 2s\n", "value.yaml": "drain: soon\n",
		"market.yaml": "# which\nmarket: options\n", "broken.yaml": "symbols: [\n", "list.yaml": "for: [1s, 2s]\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
	}
	for _, test := range badInputs {
		t.Run(test.line, func(t *testing.T) {
			t.Setenv("MARKETPRISM_ALLOW_ROOT", "true") // the tests may run as root
			t.Setenv("CLICKHOUSE_DSN", "")
			require.NoError(t, os.Unsetenv("CLICKHOUSE_DSN"))
			var args []string
			for word := range strings.FieldsSeq(test.line) {
				name, text, isVariable := strings.Cut(word, "=")
				if isVariable && strings.HasPrefix(word, strings.ToUpper(name)) && name[0] != '-' {
					t.Setenv(name, text)
					continue
				}
				if word == "FILE" || strings.HasPrefix(word, "DIR") {
					word = filepath.Join(folder, strings.TrimPrefix(word, "DIR"))
				}
				args = append(args, strings.Trim(strings.ReplaceAll(word, "_", " "), "'"))
			}
			before, err := os.ReadDir(folder)
			require.NoError(t, err)
			errOut := tempFile(t)
			code := Main(t.Context(), args, tempFile(t), errOut)
			text, err := os.ReadFile(errOut.Name())
			require.NoError(t, err)
			got := strings.ReplaceAll(string(text), folder, "DIR")
			require.NotContains(t, got, "hush")
			got, isUsage := strings.CutSuffix(got, hint)
			if isUsage {
				require.Equal(t, ExitUsage, code)
			}
			require.Equal(t, "marketprism: "+test.want+"\n", got)
			after, err := os.ReadDir(folder)
			require.NoError(t, err)
			require.Equal(t, before, after, "makes nothing")
		})
	}
	require.GreaterOrEqual(t, len(badInputs), 60)
}

// No service, and no run with real data, runs as root unless it is allowed.
func TestRoot(t *testing.T) {
	refused := func(args ...string) bool {
		errOut := tempFile(t)
		require.Equal(t, ExitFailed, Main(t.Context(), append(args, "--nats", "nats://127.0.0.1:1", "--clickhouse", "127.0.0.1:1"), tempFile(t), errOut))
		text, err := os.ReadFile(errOut.Name())
		require.NoError(t, err)
		return strings.Contains(string(text), "as root")
	}
	isRoot := os.Geteuid() == 0
	for _, service := range [][]string{{"collect"}, {"archive"}, {"run", "--source", "live"}} {
		require.Equal(t, isRoot, refused(service...), service)
		require.False(t, refused(append(service, "--allow-root")...), service)
	}
	require.False(t, refused("run"), "a trial")
}
