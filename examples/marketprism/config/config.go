// Package config holds the settings of the marketprism program. Flags override the environment, which overrides the
// YAML file, which overrides the defaults.
//
// A setting has one name everywhere: --sim-rate, MARKETPRISM_SIM_RATE, and sim-rate in the file.
package config

import (
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/natsbus"
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
	Access

	For           time.Duration // 0 means until interrupted
	Drain         time.Duration
	SnapshotEvery time.Duration // 0 means that no snapshots are added

	Data string // folder of embedded servers and of the spill queue; "" means a temporary one

	Redrive bool // put dead letters back whose cause may have passed

	Instance     string
	HealthListen string // "" means off
	PageListen   string // "" means off
	PageFallback bool   // PageListen is the default; a free port is used if it is taken
	HTTPHosts    []string
	HTTPToken    string // that health and page ask for; "" means none, and for a page that other hosts reach a random one
	LogLevel     slog.Level
	LogPlain     bool // lines for people in place of JSON
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

// Access holds the files of secrets and authorities, and who may run. "" means none.
type Access struct {
	NATSCredentials string // user of NATS, as nsc writes it
	NATSNKey        string // seed of a user of NATS
	NATSCA          string // authorities trusted for NATS, in place of the system's
	NATSCert        string // certificate that NATS may ask for
	NATSKey         string // its private key
	NATSInbox       string // prefix of replies, not a file; "" means _INBOX
	ClickHouseCA    string // authorities trusted for ClickHouse besides the system's
	SignKey         string // private key by which a collector signs
	TrustedKeys     string // public keys without whose signature an archiver takes no message
	AllowRoot       bool   // services may run as root
}

// Files returns the files of an Access, by setting.
func (a *Access) Files() map[string]string {
	return map[string]string{
		"nats-credentials": a.NATSCredentials, "nats-nkey": a.NATSNKey, "nats-ca": a.NATSCA, "nats-cert": a.NATSCert, "nats-key": a.NATSKey,
		"clickhouse-ca": a.ClickHouseCA, "sign-key": a.SignKey, "trusted-keys": a.TrustedKeys,
	}
}

// Streams returns the library's streams with the configured bounds.
func (b *Bus) Streams() natsbus.StreamsConfig {
	return natsbus.StreamsConfig{
		Books:  natsbus.StreamConfig{MaxBytes: b.BusBytes, MaxAge: b.BusAge},
		Trades: natsbus.StreamConfig{MaxBytes: b.BusBytes / 2, MaxAge: b.BusAge},

		Replicas: b.BusReplicas,
	}
}

// partitions are the names of chstore's partitions, by value.
var partitions = []string{"", chstore.Hour: "hour", chstore.Day: "day", chstore.Week: "week", chstore.Month: "month"}

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
