package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// An Origin is the source of a setting's value.
type Origin string

// The origins, by descending precedence.
const (
	FromFlag    Origin = "flag"
	FromEnv     Origin = "environment"
	FromFile    Origin = "file"
	FromDefault Origin = "default"
)

// Settings hold a Config with a flag for each setting, whose name is also the key in the file.
type Settings struct {
	Config  Config
	flags   *pflag.FlagSet
	origins map[string]Origin
	lines   map[string]int // of the settings in the file
	file    string
	classic bool // clickhouse is that of ClassicDSN
}

// New returns Settings with the defaults.
func New() *Settings {
	s := &Settings{flags: pflag.NewFlagSet("settings", pflag.ContinueOnError), origins: make(map[string]Origin)}
	c, f := &s.Config, s.flags
	f.StringVar(&c.Source, "source", Sim, "where the data comes from: sim, live or recording")
	f.StringVar(&c.Recording, "recording", "", "file of recorded traffic, for --source recording")
	f.Float64Var(&c.Speed, "speed", 1, "speed of a recording: 2 is twice as fast, 0 as fast as it can be read")
	f.Float64Var(&c.SimRate, "sim-rate", 0, "changes a second of each simulated symbol; 0 means the simulator's own")
	f.StringVar(&c.Market, "market", "spot", "spot, usdm or coinm; one collector each")
	f.StringSliceVar(&c.Symbols, "symbols", []string{"BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT"}, "symbols to follow; a recording has its own")
	f.BoolVar(&c.AllTrading, "all-trading", false, "follow every symbol that trades, in place of --symbols")
	f.StringVar(&c.RESTURL, "rest-url", "", "another REST host for --source live, such as a testnet's")
	f.StringVar(&c.StreamURL, "stream-url", "", "the websocket host that belongs to --rest-url")
	f.StringVar(&c.Proxy, "proxy", "", "proxy to the exchange, such as http://HOST:PORT or socks5://USER:PASSWORD@HOST:PORT; empty means the environment's HTTPS_PROXY and NO_PROXY")
	f.StringVar(&c.CAFile, "ca-file", "", "PEM file of authorities to trust for the exchange besides the system's, such as an inspecting proxy's")
	f.IntVar(&c.Redundancy, "redundancy", 1, "connections that carry each stream, 1 or 2")

	f.DurationVar(&c.For, "for", 20*time.Second, "how long to collect; 0 means until Ctrl-C")
	f.DurationVar(&c.Drain, "drain", 30*time.Second, "time to store the received records at the end")
	f.DurationVar(&c.SnapshotEvery, "snapshot-every", 30*time.Second, "interval of a book's snapshots on the bus; 0 means none")

	f.Int64Var(&c.BusBytes, "bus-bytes", 1<<30, "maximum bytes of the stream of books, half of it for trades; a full stream makes collectors wait")
	f.DurationVar(&c.BusAge, "bus-age", 24*time.Hour, "how long messages stay on the bus")
	f.IntVar(&c.BusReplicas, "bus-replicas", 1, "servers of a NATS cluster that hold each stream: 1, or 3 to survive the loss of one")
	f.StringVar(&c.Data, "data", "", "folder of embedded servers and of the disk queue, kept; empty means a temporary one")
	f.StringVar(&c.NATS, "nats", "", "URL of NATS with JetStream, such as nats://127.0.0.1:4222; empty means embedded")
	f.StringVar(&c.ClickHouse, "clickhouse", "", "host:port or DSN of ClickHouse's native protocol; empty means CLICKHOUSE_DSN, else embedded")
	f.StringVar(&c.ClickHouseListen, "clickhouse-listen", "", "IP:PORT at which an embedded ClickHouse lets in the user analyst, who may read; the password is shown once; empty means that it lets in this program alone")
	f.StringVar(&c.Database, "database", "marketprism", "database in ClickHouse")
	f.StringVar(&c.Cluster, "clickhouse-cluster", "", "cluster in ClickHouse's configuration, over which tables are replicated and distributed; empty means one server")
	f.StringVar(&c.Partition, "partition", "", "time that one partition of a table holds: hour, day, week or month; empty leaves it to each table; fixed when tables are created")
	f.BoolVar(&c.Replacing, "replacing", false, "make the tables ReplacingMergeTree, which drop duplicates in merges; fixed when tables are created")
	f.DurationVar(&c.KeepBooks, "keep-books", 0, "how long ClickHouse keeps updates, snapshots, tickers and gaps; 0 means without limit")
	f.DurationVar(&c.KeepTrades, "keep-trades", 0, "how long ClickHouse keeps trades; 0 means without limit")
	f.StringVar(&c.ColdPolicy, "cold-policy", "", "storage policy of the tables, with the volumes default and cold; empty means the server's own")
	f.DurationVar(&c.ColdAfter, "cold-after", 0, "when rows move to the volume cold; 0 means never")
	f.BoolVar(&c.Redrive, "redrive", true, "return dead letters whose cause may have passed to the archiver, at most three times")

	f.StringVar(&c.NATSCredentials, "nats-credentials", "", "credentials file of a user of NATS, as nsc writes it; read again for each connection")
	f.StringVar(&c.NATSNKey, "nats-nkey", "", "file with the seed of a user of NATS")
	f.StringVar(&c.NATSCA, "nats-ca", "", "PEM file of the authorities to trust for NATS, in place of the system's; read again for each connection")
	f.StringVar(&c.NATSCert, "nats-cert", "", "PEM file of the certificate that NATS asks for; read again for each connection")
	f.StringVar(&c.NATSKey, "nats-key", "", "PEM file of the private key of --nats-cert")
	f.StringVar(&c.NATSInbox, "nats-inbox", "", "prefix of the subjects of replies, such as _INBOX.collector, for users whom NATS lets read no other; empty means _INBOX")
	f.StringVar(&c.ClickHouseCA, "clickhouse-ca", "", "PEM file of authorities to trust for ClickHouse besides the system's; makes the connection TLS")
	f.StringVar(&c.SignKey, "sign-key", "", "PEM file of an ed25519 key by which a collector signs what it publishes")
	f.StringVar(&c.TrustedKeys, "trusted-keys", "", "PEM file of the public keys of collectors; an archiver then makes dead letters of what none of them has signed")
	f.BoolVar(&c.AllowRoot, "allow-root", false, "let services run as root")

	f.StringVar(&c.Instance, "instance", defaultInstance(), "name of this process among others of its role")
	f.StringVar(&c.HealthListen, "health-listen", "127.0.0.1:0", "address of /healthz, /readyz and /metrics; port 0 is a free one, empty means off")
	f.StringVar(&c.PageListen, "page-listen", "127.0.0.1:8480", "address of the live page; port 0 is a free one, as is used if the default is taken; empty means off")
	f.StringSliceVar(&c.HTTPHosts, "http-hosts", []string{}, "host names, besides localhost, under which health and page are asked for, such as that of a proxy or a container")
	f.StringVar(&c.HTTPToken, "http-token", "", "token that health and page ask for, as 'Authorization: Bearer TOKEN' or at a login; empty means none, but a new one, printed, for a page beyond loopback")
	f.TextVar(&c.LogLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	return s
}

// Flags returns the settings as flags of a command.
func (s *Settings) Flags() *pflag.FlagSet { return s.flags }

// Origin returns the source of a setting's value, after Load.
func (s *Settings) Origin(name string) Origin { return s.origins[name] }

// Place returns where a setting was set, after Load: the name of its flag, its variable, or itself in the file.
func (s *Settings) Place(name string) string {
	switch {
	case s.origins[name] == FromEnv && name == "clickhouse" && s.classic:
		return ClassicDSN
	case s.origins[name] == FromEnv:
		return EnvName(name)
	case s.origins[name] == FromFile:
		return name
	}
	return "--" + name
}

// EnvName returns the environment variable of a setting, such as MARKETPRISM_SIM_RATE of sim-rate.
func EnvName(setting string) string {
	return "MARKETPRISM_" + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

const mask = "xxxxx"

// SetDefault changes the default of a setting, as some commands do. Call it before Load.
func (s *Settings) SetDefault(name, text string) error {
	f := s.flags.Lookup(name)
	f.DefValue = text
	if f.Changed {
		return nil
	}
	return f.Value.Set(text)
}

// Print writes all settings as a file for Load, each with its origin. It masks passwords and tokens in addresses.
func (s *Settings) Print(w io.Writer) error {
	return s.print(w, func(f *pflag.Flag) string { return string(s.origins[f.Name]) })
}

// PrintDiff is Print of the settings that differ from their defaults, with these and where each was set.
func (s *Settings) PrintDiff(w io.Writer) error {
	differ := false
	err := s.print(w, func(f *pflag.Flag) string {
		if f.Value.String() == f.DefValue {
			return ""
		}
		differ = true
		place := s.Place(f.Name)
		if s.origins[f.Name] == FromFile {
			place = fmt.Sprintf("%s:%d", s.file, s.lines[f.Name])
		}
		return fmt.Sprintf("%s; default %s", place, cmp.Or(strings.Trim(f.DefValue, "[]"), "none"))
	})
	if err == nil && !differ {
		_, err = fmt.Fprintln(w, "# all settings have their defaults")
	}
	return err
}

// print writes the settings for which comment is not empty.
func (s *Settings) print(w io.Writer, comment func(*pflag.Flag) string) error {
	var failed error
	s.flags.VisitAll(func(f *pflag.Flag) {
		note := comment(f)
		if note == "" {
			return
		}
		value := shown(f.Name, f.Value.String())
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		line, err := yaml.Marshal(map[string]any{f.Name: value})
		if err == nil {
			_, err = fmt.Fprintf(w, "%-60s # %s\n", strings.TrimSpace(string(line)), note)
		}
		failed = errors.Join(failed, err)
	})
	return failed
}
