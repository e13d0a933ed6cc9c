package chserver

import (
	"fmt"
	"regexp"
	"slices"
)

// TieredPolicy is the storage policy every server has, beside ClickHouse's own "default". Its volumes are
// "default" and "cold". The first is called like the only volume of the policy "default", so that a table
// created without tiers can be switched to it: ClickHouse allows a change of policy only where all
// volumes of the old one are kept by name.
const TieredPolicy = "tiered"

// Config describes a server. The zero value is a server with a folder of its own.
type Config struct {
	// Dir holds all the server writes: tables, the cold disk, configuration and log. It is created when
	// missing, and a server started on the folder of an earlier one has its data. Empty means a temporary
	// folder, which Stop removes.
	Dir string

	// Engine is the ClickHouse to run. Zero means the one Find finds.
	Engine Engine

	// TCPPort and HTTPPort are the ports of the native and the HTTP protocol. Zero means a free one.
	TCPPort, HTTPPort int

	// MemoryBytes bounds what all queries and merges use together. Zero means 2 GiB;
	// negative means ClickHouse's own bound, 90% of the machine.
	MemoryBytes int64

	// BackgroundThreads is the number of threads for merges, and for each of the other background
	// tasks. Zero means 2; negative means ClickHouse's own numbers, meant for a machine of its own.
	BackgroundThreads int

	// Settings holds further server settings that have a single value.
	Settings map[string]string

	// Sections is further XML of the configuration file, put there as it is, for what has more than a
	// single value: <remote_servers>, <zookeeper>, <macros>.
	Sections string

	// MergeTree holds defaults for the settings of all MergeTree tables, such as
	// {"merge_with_ttl_timeout": "1"} for a TTL that acts within seconds.
	MergeTree map[string]string

	// Timezone is the server's time zone by its IANA name. Empty means UTC.
	Timezone string

	// LogLevel is how much the server writes to its log: "none", "fatal", "critical", "error", "warning", "notice",
	// "information", "debug", "trace". Empty means "warning".
	LogLevel string
}

const (
	defaultMemoryBytes       = 2 << 30
	minMemoryBytes           = 256 << 20 // less does not hold the server itself
	defaultBackgroundThreads = 2
)

var settingName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// withDefaults checks c and fills in what is stated for zero values, except Dir and Engine.
func (c Config) withDefaults() (Config, error) {
	for _, port := range []int{c.TCPPort, c.HTTPPort} {
		if port < 0 || port > 65535 {
			return c, fmt.Errorf("chserver: Config: port %d is not within 0 … 65535", port)
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
	levels := []string{"none", "fatal", "critical", "error", "warning", "notice", "information", "debug", "trace"}
	if !slices.Contains(levels, c.LogLevel) {
		return c, fmt.Errorf("chserver: Config: LogLevel %q is none of %q", c.LogLevel, levels)
	}
	return c, nil
}
