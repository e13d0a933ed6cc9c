// Package config holds the settings of the marketprism program. Flags override the environment, which overrides the
// YAML file, which overrides the defaults.
//
// A setting has one name everywhere: --sim-rate, MARKETPRISM_SIM_RATE, and sim-rate in the file.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
)

// The sources.
const (
	Sim       = "sim"
	Live      = "live"
	Recording = "recording"
)

// A Config holds all settings.
type Config struct {
	Exchange
	Bus
	Archive

	For           time.Duration // 0 means until interrupted
	Drain         time.Duration
	SnapshotEvery time.Duration // 0 means that no snapshots are added

	Data string // folder of embedded servers and of the spill queue; "" means a temporary one

	Redrive bool // put dead letters back whose cause may have passed

	Instance     string
	HealthListen string // "" means off
	PageListen   string // "" means off
	HTTPHosts    []string
	HTTPToken    string // that health and page ask for; "" means none, and for a page that other hosts reach a random one
	LogLevel     slog.Level
}

// Exchange holds the settings of what is collected.
type Exchange struct {
	Source     string // Sim, Live or Recording
	Recording  string // file of the source Recording
	Speed      float64
	SimRate    float64 // changes a second of each symbol of the source Sim; 0 means the simulator's default
	Market     string
	Symbols    []string
	AllTrading bool   // follow every symbol that trades, instead of Symbols
	RESTURL    string // "" means the market's own
	StreamURL  string // "" means the market's own
	Proxy      string // URL; "" means the one that the environment names
	CAFile     string // PEM file of authorities trusted besides the system's; "" means none
	Redundancy int
}

// Bus holds the settings of NATS and its streams.
type Bus struct {
	NATS        string        // "" means embedded
	BusBytes    int64         // of the stream of books; that of trades gets half
	BusAge      time.Duration // of messages on the bus
	BusReplicas int           // servers that hold each stream
}

// Archive holds the settings of ClickHouse and its tables.
type Archive struct {
	ClickHouse string // "" means embedded
	// ClickHouseListen is host:port at which an embedded ClickHouse lets analysts in; "" means that it does not.
	ClickHouseListen string

	Database   string
	Cluster    string        // of ClickHouse; "" means a single server
	Partition  string        // hour, day, week or month; "" means the default of each table
	Replacing  bool          // the tables drop duplicates in merges, in addition to the store
	KeepBooks  time.Duration // updates, snapshots, tickers and gaps; 0 means without limit
	KeepTrades time.Duration // 0 means without limit
	ColdPolicy string        // storage policy of the tables; "" means the server's own
	ColdAfter  time.Duration // age at which rows move to the policy's volume "cold"; 0 means never
}

// minBusAge is the deduplication window of the streams.
const minBusAge = 5 * time.Minute

var (
	instanceName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	httpToken    = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]{16,256}$`) // RFC 6750, and long enough not to be guessed
)

// partitions are the names of chstore's partitions, by value.
var partitions = []string{"", chstore.Hour: "hour", chstore.Day: "day", chstore.Week: "week", chstore.Month: "month"}

// Validate returns an error if the settings are invalid or contradict each other.
func (c *Config) Validate() error {
	markets := []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM}
	switch {
	case !slices.Contains([]string{Sim, Live, Recording}, c.Source):
		return fmt.Errorf("source %q is none of sim, live, recording", c.Source)
	case c.Source == Recording && c.Recording == "":
		return errors.New("source recording needs a file: set recording")
	case c.Source != Recording && c.Recording != "":
		return fmt.Errorf("source %s has no recording, got %q", c.Source, c.Recording)
	case !slices.Contains(markets, marketprism.Market(c.Market)):
		return fmt.Errorf("market %q is none of spot, usdm, coinm", c.Market)
	case c.Source != Recording && len(c.Symbols) == 0 && !c.AllTrading:
		return errors.New("no symbol to follow: set symbols or all-trading")
	case (c.RESTURL == "") != (c.StreamURL == ""):
		return errors.New("rest-url and stream-url belong together: set both or none")
	case c.RESTURL != "" && c.Source != Live:
		return fmt.Errorf("rest-url and stream-url are for source live, not %s", c.Source)
	case (c.Proxy != "" || c.CAFile != "") && c.Source != Live:
		return fmt.Errorf("proxy and ca-file are for source live, not %s", c.Source)
	case !isProxy(c.Proxy):
		return errors.New("proxy: want http, https, socks5 or socks5h://[USER:PASSWORD@]HOST[:PORT]") // it may contain a password
	case c.Redundancy < 1 || c.Redundancy > 2:
		return fmt.Errorf("redundancy %d is neither 1 nor 2", c.Redundancy)
	case c.For < 0 || c.Drain <= 0 || c.SnapshotEvery < 0:
		return errors.New("for and snapshot-every must not be negative, drain must be positive")
	case !slices.Contains(partitions, c.Partition):
		return fmt.Errorf("partition %q is none of hour, day, week, month", c.Partition)
	case c.KeepBooks < 0 || c.KeepTrades < 0 || c.ColdAfter < 0:
		return errors.New("keep-books, keep-trades and cold-after must not be negative")
	case c.ClickHouseListen != "" && c.ClickHouse != "":
		return errors.New("clickhouse-listen is for an embedded ClickHouse, and clickhouse names another one")
	case c.ClickHouseListen != "" && !isListenAddr(c.ClickHouseListen):
		return fmt.Errorf("clickhouse-listen %q: want IP:PORT, such as 127.0.0.1:9000", c.ClickHouseListen)
	case c.Speed < 0 || c.SimRate < 0:
		return errors.New("speed and sim-rate must not be negative")
	case c.BusReplicas < 1 || c.BusReplicas > 5:
		return fmt.Errorf("bus-replicas %d: want 1 to 5", c.BusReplicas)
	case c.BusBytes < 1<<20 || c.BusAge < minBusAge:
		return fmt.Errorf("bus-bytes %d, bus-age %v: want 1 MiB and %v at least", c.BusBytes, c.BusAge, minBusAge)
	case c.HTTPToken != "" && !httpToken.MatchString(c.HTTPToken):
		return errors.New("http-token: want 16 to 256 letters, digits and characters of -._~+/=")
	case !instanceName.MatchString(c.Instance):
		return fmt.Errorf("instance %q: want letters, digits, '-' and '_'", c.Instance)
	}
	return nil
}

// isProxy reports whether text is the URL of a proxy, or empty.
func isProxy(text string) bool {
	u, err := url.Parse(text)
	return text == "" || err == nil && u.Host != "" && slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme)
}

// isListenAddr reports whether text is the IP address and port of a listener.
func isListenAddr(text string) bool {
	_, err := netip.ParseAddrPort(text)
	return err == nil
}

// Origin says, for people, that the data is not Binance's own: SIMULATED, RECORDED, or the host that it is from. "" means that it is.
func (c *Config) Origin() string {
	switch {
	case c.Source == Sim:
		return "SIMULATED"
	case c.Source == Recording:
		return "RECORDED"
	case c.RESTURL == "":
		return ""
	}
	if u, err := url.Parse(c.RESTURL); err == nil && u.Host != "" {
		return "from " + u.Host
	}
	return "from another host"
}

// Store returns the configuration of the archive.
func (c *Config) Store() chstore.Config {
	all := func(books, trades time.Duration) chstore.TTL {
		return chstore.TTL{Depth: books, Snapshots: books, Tickers: books, Gaps: books, Trades: trades}
	}
	engine := chstore.MergeTree
	if c.Replacing {
		engine = chstore.ReplacingMergeTree
	}
	return chstore.Config{
		Database:  c.Database,
		Partition: chstore.Partition(max(0, slices.Index(partitions, c.Partition))),
		Engine:    engine,
		Cluster:   chstore.Cluster{Name: c.Cluster},
		TTL:       all(c.KeepBooks, c.KeepTrades),
		Tiers:     chstore.Tiers{Policy: c.ColdPolicy, After: all(c.ColdAfter, c.ColdAfter)},
	}
}

// defaultInstance returns the host's name, in characters valid in a subject.
func defaultInstance() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "local"
	}
	return regexp.MustCompile(`[^A-Za-z0-9_-]`).ReplaceAllString(name, "-")
}
