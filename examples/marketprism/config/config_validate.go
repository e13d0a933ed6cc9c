package config

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/spf13/pflag"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/redact"
)

// A ValueError is a setting, a flag or an argument with a value that it cannot have.
type ValueError struct {
	Setting string // as it was given: --sim-rate, MARKETPRISM_SIM_RATE, sim-rate in a file
	Value   string // without secrets
	Want    string // what is allowed
	Closest string // of what is allowed, the one that was probably meant; "" if none is close
}

func (e *ValueError) Error() string {
	got := "nothing"
	if e.Value != "" {
		got = strconv.Quote(e.Value)
	}
	return fmt.Sprintf("%s: want %s, got %s%s", e.Setting, e.Want, got, Hint(e.Closest))
}

const (
	minBusAge   = 5 * time.Minute // the deduplication window of the streams
	minBusBytes = 1 << 20
	maxReplicas = 5 // of JetStream
)

const wantListen = "IP:PORT or HOST:PORT, such as 127.0.0.1:8080, or nothing, which means off"

// wants says what the settings with bounds allow.
var wants = map[string]string{
	"source":            "sim, live or recording",
	"market":            "spot, usdm or coinm",
	"symbols":           "symbols of letters, digits and _, separated by commas, such as BTCUSDT,ETHUSDT",
	"speed":             "a number, 0 or more",
	"sim-rate":          "a number, 0 or more",
	"redundancy":        "1 or 2",
	"for":               "a duration such as 90s or 24h, 0 or more",
	"drain":             "a duration such as 30s, above 0",
	"snapshot-every":    "a duration such as 30s, 0 or more",
	"bus-bytes":         fmt.Sprintf("a whole number of bytes, %d or more", minBusBytes),
	"bus-age":           fmt.Sprintf("a duration such as 24h, %v or more", minBusAge),
	"bus-replicas":      fmt.Sprintf("1 to %d", maxReplicas),
	"nats":              "nats://, tls://, ws:// or wss://[USER:PASSWORD@]HOST[:PORT], several separated by commas",
	"nats-inbox":        "letters, digits, - and _, with dots between, such as _INBOX.collector",
	"clickhouse":        "HOST:PORT of the native protocol, or clickhouse://[USER:PASSWORD@]HOST:PORT[?OPTIONS]",
	"clickhouse-listen": "IP:PORT, such as 127.0.0.1:9000, and no setting clickhouse",
	"database":          "letters, digits and _",
	"partition":         "hour, day, week or month, or nothing, which leaves it to each table",
	"keep-books":        "a duration such as 720h, 0 or more",
	"keep-trades":       "a duration such as 720h, 0 or more",
	"cold-after":        "a duration such as 720h, 0 or more",
	"rest-url":          "http:// or https://HOST[:PORT]",
	"stream-url":        "ws:// or wss://HOST[:PORT]",
	"proxy":             "http, https, socks5 or socks5h://[USER:PASSWORD@]HOST[:PORT]",
	"health-listen":     wantListen,
	"page-listen":       wantListen,
	"http-hosts":        "host names without scheme and port, separated by commas",
	"http-token":        "16 to 256 letters, digits and characters of -._~+/=",
	"instance":          "letters, digits, - and _",
	"log-level":         "debug, info, warn or error",
}

var (
	oneName   = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	aName     = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	inbox     = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	httpToken = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]{16,256}$`) // RFC 6750, and long enough not to be guessed
)

// Validate returns a *ValueError for a setting that is invalid or contradicts another one.
func (c *Config) Validate() error {
	markets := []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM}
	for _, rule := range []struct {
		setting string
		value   any
		ok      bool
		want    string // "" means that of wants
	}{
		{"source", c.Source, slices.Contains([]string{Sim, Live, Recording}, c.Source), ""},
		{"recording", c.Recording, c.Source != Recording || c.Recording != "", "the file to play back, since source is recording"},
		{"recording", c.Recording, c.Source == Recording || c.Recording == "", "none, since source is " + c.Source},
		{"market", c.Market, slices.Contains(markets, marketprism.Market(c.Market)), ""},
		{"symbols", "", c.Source == Recording || len(c.Symbols) > 0 || c.AllTrading, "one symbol at least, or all-trading"},
		{"symbols", strings.Join(c.Symbols, ","), !slices.ContainsFunc(c.Symbols, notSymbol), ""},
		{"symbols", strings.Join(c.Symbols, ","), len(slices.Compact(slices.Sorted(slices.Values(c.Symbols)))) == len(c.Symbols), "each symbol once"},
		{"rest-url", c.RESTURL, c.RESTURL == "" || isURL(c.RESTURL, "http", "https"), ""},
		{"stream-url", c.StreamURL, c.StreamURL == "" || isURL(c.StreamURL, "ws", "wss"), ""},
		{"stream-url", c.StreamURL, c.RESTURL == "" || c.StreamURL != "", "the websocket host that belongs to rest-url"},
		{"rest-url", c.RESTURL, c.StreamURL == "" || c.RESTURL != "", "the REST host that belongs to stream-url"},
		{"rest-url", c.RESTURL, c.Source == Live || c.RESTURL == "", "none, since source is " + c.Source},
		{"proxy", c.Proxy, c.Source == Live || c.Proxy == "", "none, since source is " + c.Source},
		{"ca-file", c.CAFile, c.Source == Live || c.CAFile == "", "none, since source is " + c.Source},
		{"proxy", c.Proxy, c.Proxy == "" || isURL(c.Proxy, "http", "https", "socks5", "socks5h"), ""},
		{"redundancy", c.Redundancy, c.Redundancy == 1 || c.Redundancy == 2, ""},
		{"for", c.For, c.For >= 0, ""},
		{"drain", c.Drain, c.Drain > 0, ""},
		{"snapshot-every", c.SnapshotEvery, c.SnapshotEvery >= 0, ""},
		{"speed", c.Speed, isAmount(c.Speed), ""},
		{"sim-rate", c.SimRate, isAmount(c.SimRate), ""},
		{"nats", c.NATS, c.NATS == "" || isNATS(c.NATS), ""},
		{"nats-cert", c.NATSCert, (c.NATSCert == "") == (c.NATSKey == ""), "a certificate and, in nats-key, its key"},
		{"nats-nkey", c.NATSNKey, c.NATSNKey == "" || c.NATSCredentials == "", "none, since nats-credentials is set"},
		{"nats-inbox", c.NATSInbox, c.NATSInbox == "" || inbox.MatchString(c.NATSInbox), ""},
		{"bus-bytes", c.BusBytes, c.BusBytes >= minBusBytes, ""},
		{"bus-age", c.BusAge, c.BusAge >= minBusAge, ""},
		{"bus-replicas", c.BusReplicas, 1 <= c.BusReplicas && c.BusReplicas <= maxReplicas, ""},
		{"clickhouse", c.ClickHouse, c.ClickHouse == "" || isClickHouse(c.ClickHouse), ""},
		{"clickhouse-listen", c.ClickHouseListen, c.ClickHouseListen == "" || c.ClickHouse == "" && isIPPort(c.ClickHouseListen), ""},
		{"database", c.Database, oneName.MatchString(c.Database), ""},
		{"partition", c.Partition, slices.Contains(partitions, c.Partition), ""},
		{"keep-books", c.KeepBooks, c.KeepBooks >= 0, ""},
		{"keep-trades", c.KeepTrades, c.KeepTrades >= 0, ""},
		{"cold-after", c.ColdAfter, c.ColdAfter >= 0, ""},
		{"health-listen", c.HealthListen, c.HealthListen == "" || isHostPort(c.HealthListen), ""},
		{"page-listen", c.PageListen, c.PageListen == "" || isHostPort(c.PageListen), ""},
		{"http-hosts", strings.Join(c.HTTPHosts, ","), !slices.ContainsFunc(c.HTTPHosts, func(h string) bool { return h == "" || strings.ContainsAny(h, "/: ") }), ""},
		{"http-token", c.HTTPToken, c.HTTPToken == "" || httpToken.MatchString(c.HTTPToken), ""},
		{"instance", c.Instance, aName.MatchString(c.Instance), ""},
	} {
		if !rule.ok {
			return &ValueError{rule.setting, refused(rule.setting, fmt.Sprint(rule.value)), cmp.Or(rule.want, wants[rule.setting]), ""}
		}
	}
	return nil
}

// isAmount reports whether f is a finite number, 0 or more.
func isAmount(f float64) bool { return f >= 0 && !math.IsInf(f, 1) }

// CheckSymbols returns a *ValueError for the first of symbols that no exchange can have; setting says where they were given.
func CheckSymbols(setting string, symbols []string) error {
	for _, symbol := range symbols {
		if notSymbol(symbol) {
			return &ValueError{Setting: setting, Value: symbol, Want: "letters, digits and _, such as BTCUSDT"}
		}
	}
	return nil
}

// notSymbol reports whether no exchange has such a symbol. Some are not ASCII: 币安人生USDT.
func notSymbol(symbol string) bool {
	return symbol == "" || strings.ContainsFunc(symbol, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' })
}

// isURL reports whether text is a URL with one of the schemes and a host.
func isURL(text string, schemes ...string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Hostname() != "" && slices.Contains(schemes, u.Scheme)
}

func isNATS(list string) bool {
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); !strings.Contains(part, "://") {
			part = "nats://" + part // as nats.Connect does
		}
		if !isURL(part, "nats", "tls", "ws", "wss") {
			return false
		}
	}
	return true
}

// isClickHouse reports whether text is an address of the native protocol.
func isClickHouse(text string) bool {
	if !strings.Contains(text, "://") {
		text = "clickhouse://" + text // as chstore.Dial does
	}
	options, err := clickhouse.ParseDSN(text)
	return err == nil && options.Protocol == clickhouse.Native && !slices.ContainsFunc(options.Addr, func(a string) bool { return !isHostPort(a) })
}

func isIPPort(text string) bool {
	_, err := netip.ParseAddrPort(text)
	return err == nil
}

// isHostPort reports whether text is a host, which may be empty, and the number of a port.
func isHostPort(text string) bool {
	host, port, err := net.SplitHostPort(text)
	_, badPort := strconv.ParseUint(port, 10, 16)
	return err == nil && badPort == nil && !strings.ContainsAny(host, "/ ")
}

// shown returns the value of a setting without secrets.
func shown(setting, value string) string {
	switch {
	case value == "":
		return ""
	case setting == "http-token":
		return mask
	case hasAddresses(setting):
		return redact.Addresses(value, mask)
	}
	return value
}

// refused is shown of a value in an error.
func refused(setting, value string) string {
	if text := shown(setting, value); text != mask {
		return text
	}
	return "(hidden)"
}

// hasAddresses reports whether a setting holds addresses, which may contain a password.
func hasAddresses(setting string) bool {
	return setting == "nats" || setting == "clickhouse" || setting == "proxy" || strings.HasSuffix(setting, "-url")
}

// ParseError returns the *ValueError of a value that a flag refused; setting is its name where it was given.
func ParseError(setting string, f *pflag.Flag, value string) *ValueError {
	e := &ValueError{Setting: setting, Value: refused(f.Name, value), Want: wants[f.Name]}
	if e.Want == "" {
		e.Want = map[string]string{
			"string": "a value", "bool": "true or false", "duration": "a duration such as 30s or 24h", "float64": "a number", "int": "a whole number", "int64": "a whole number",
			"stringSlice": "values separated by commas", "time": "a time such as 2026-01-31T12:00:00Z, now, or -1h for an hour ago",
		}[f.Value.Type()]
	}
	return e
}
