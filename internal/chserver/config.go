package chserver

import (
	"crypto/rand"
	"fmt"
	"net"
	"regexp"
	"slices"
	"time"
)

// TieredPolicy is the storage policy every server has, beside ClickHouse's own "default". Its volumes are
// "default" and "cold". The first is called like the only volume of the policy "default", so that a table
// created without tiers can be switched to it: ClickHouse allows a change of policy only where all
// volumes of the old one are kept by name.
const TieredPolicy = "tiered"

// A Config describes a server. The zero value is a server with a temporary folder.
type Config struct {
	// Dir holds everything the server writes: tables, the cold disk, configuration and log. It is created when
	// missing, and a server started on the folder of an earlier one has its data. Empty means a temporary
	// folder, which Close removes.
	Dir string

	// Engine is the ClickHouse to run. Zero means the one Find finds.
	Engine Engine

	// CloseTimeout bounds how long Close waits for the server before it kills it. 0 means no bound.
	CloseTimeout time.Duration

	// Host is the address to listen at. Empty means 127.0.0.1. At another one the server answers Readers alone, whoever
	// they say they are, except to connections from this host.
	Host string

	// TCPPort is the port of the native protocol. Zero means a free one.
	TCPPort int

	// HTTPPort is the port of the HTTP protocol, which any web page that a user of this host opens can reach. Zero means
	// none; negative means a free one.
	HTTPPort int

	// Password is that of the user User, whom the server lets in from this host. Empty means a new random one. The server's
	// folder has only a hash of it, and no process has it in its arguments or environment.
	Password string

	// Grants holds further privileges of User in ClickHouse's words, such as "REMOTE ON *.*". User may create, fill, read, change and
	// drop databases and tables; without a grant it reaches no file, no address, no other server and no SYSTEM statement.
	Grants []string

	// Readers are further users, who may only read.
	Readers []Reader

	// MemoryBytes bounds the memory of all queries and merges together. Zero means 2 GiB;
	// negative means ClickHouse's own bound, 90% of the machine.
	MemoryBytes int64

	// BackgroundThreads is the number of threads for merges, and for each of the other background
	// tasks. Zero means 2; negative means ClickHouse's own numbers, which suit a dedicated machine.
	BackgroundThreads int

	// Settings holds further server settings that have a single value.
	Settings map[string]string

	// Sections is XML that is added to the configuration file, for settings with more than a
	// single value: <remote_servers>, <zookeeper>, <macros>.
	Sections string

	// MergeTree holds defaults for the settings of all MergeTree tables, such as
	// {"merge_with_ttl_timeout": "1"} for a TTL that acts within seconds.
	MergeTree map[string]string

	// Timezone is the server's time zone by its IANA name. Empty means UTC.
	Timezone string

	// LogLevel is the level of the server's log: "none", "fatal", "critical", "error", "warning", "notice",
	// "information", "debug", "trace". Empty means "warning".
	LogLevel string
}

// User is the user of the program that starts a server.
const User = "marketprism"

// A Reader is a user who may read the tables of one database, from any address at which the server listens.
type Reader struct {
	Name, Database string
	PasswordSHA256 [32]byte
}

const (
	defaultMemoryBytes       = 2 << 30
	minMemoryBytes           = 256 << 20 // the server itself does not fit in less
	defaultBackgroundThreads = 2
)

var (
	settingName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	userName    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`) // also of a database
	grantName   = regexp.MustCompile(`^[A-Z][A-Z, ]* ON [A-Za-z*.]+$`)
)

// withDefaults validates c and replaces zero values by their defaults, except Dir and Engine.
func (c Config) withDefaults() (Config, error) {
	if c.TCPPort < 0 || c.TCPPort > 65535 || c.HTTPPort > 65535 {
		return c, fmt.Errorf("chserver: Config: port %d or %d is not within 0 … 65535", c.TCPPort, c.HTTPPort)
	}
	if c.Host == "" {
		c.Host = "127.0.0.1"
	}
	if net.ParseIP(c.Host) == nil {
		return c, fmt.Errorf("chserver: Config: Host %q is not an IP address", c.Host)
	}
	if c.Password == "" {
		c.Password = rand.Text()
	}
	for _, grant := range c.Grants {
		if !grantName.MatchString(grant) {
			return c, fmt.Errorf("chserver: Config: %q is not a privilege", grant)
		}
	}
	for _, r := range c.Readers {
		if !userName.MatchString(r.Name) || !userName.MatchString(r.Database) || r.Name == User || r.Name == "default" {
			return c, fmt.Errorf("chserver: Config: reader %q of %q: want names of letters, digits and '_', and not those of the server's own users", r.Name, r.Database)
		}
	}
	if c.TCPPort == c.HTTPPort && c.TCPPort != 0 {
		return c, fmt.Errorf("chserver: Config: TCPPort and HTTPPort are both %d", c.TCPPort)
	}
	if c.MemoryBytes == 0 {
		c.MemoryBytes = defaultMemoryBytes
	}
	if c.MemoryBytes > 0 && c.MemoryBytes < minMemoryBytes {
		return c, fmt.Errorf("chserver: Config: MemoryBytes %d is less than %d", c.MemoryBytes, minMemoryBytes)
	}
	if c.BackgroundThreads == 0 {
		c.BackgroundThreads = defaultBackgroundThreads
	}
	for _, settings := range []map[string]string{c.Settings, c.MergeTree} {
		for name := range settings {
			if !settingName.MatchString(name) {
				return c, fmt.Errorf("chserver: Config: %q is not the name of a setting", name)
			}
		}
	}
	if c.Timezone == "" {
		c.Timezone = "UTC"
	}
	if c.LogLevel == "" {
		c.LogLevel = "warning"
	}
	if c.CloseTimeout < 0 {
		return c, fmt.Errorf("chserver: Config: CloseTimeout %v is negative", c.CloseTimeout)
	}
	levels := []string{"none", "fatal", "critical", "error", "warning", "notice", "information", "debug", "trace"}
	if !slices.Contains(levels, c.LogLevel) {
		return c, fmt.Errorf("chserver: Config: LogLevel %q is not one of %q", c.LogLevel, levels)
	}
	return c, nil
}

// serverXML is the configuration file. The pools' sizes depend on one another: ClickHouse refuses
// to start when the two number_of_free_entries settings exceed the pool, so they are set with it.
const serverXML = `<clickhouse>
    <logger><console>1</console></logger>
    <users_config>{{text .Dir}}/users.xml</users_config>
    {{- if gt .MemoryBytes 0}}
    <max_server_memory_usage>{{.MemoryBytes}}</max_server_memory_usage>
    {{- end}}
    <mark_cache_size>134217728</mark_cache_size>
    <primary_index_cache_size>134217728</primary_index_cache_size>
    {{- if gt .BackgroundThreads 0}}
    <background_pool_size>{{.BackgroundThreads}}</background_pool_size>
    <background_merges_mutations_concurrency_ratio>2</background_merges_mutations_concurrency_ratio>
    <background_move_pool_size>{{.BackgroundThreads}}</background_move_pool_size>
    <background_fetches_pool_size>{{.BackgroundThreads}}</background_fetches_pool_size>
    <background_common_pool_size>{{.BackgroundThreads}}</background_common_pool_size>
    <background_schedule_pool_size>{{.BackgroundThreads}}</background_schedule_pool_size>
    {{- end}}
    {{- range $name, $value := .Settings}}
    <{{$name}}>{{text $value}}</{{$name}}>
    {{- end}}
    {{- if .Sections}}
    {{.Sections}}
    {{- end}}
    <storage_configuration>
        <disks>
            <cold><path>{{text .Dir}}/cold/</path></cold>
        </disks>
        <policies>
            <` + TieredPolicy + `>
                <volumes>
                    <default><disk>default</disk></default>
                    <cold><disk>cold</disk></cold>
                </volumes>
                <move_factor>0</move_factor>
            </` + TieredPolicy + `>
        </policies>
    </storage_configuration>
    <merge_tree>
        {{- if gt .BackgroundThreads 0}}
        <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
        <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
        <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
        {{- end}}
        {{- range $name, $value := .MergeTree}}
        <{{$name}}>{{text $value}}</{{$name}}>
        {{- end}}
    </merge_tree>
</clickhouse>
`
