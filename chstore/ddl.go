package chstore

import (
	"fmt"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// A ddl renders statements that define tables. Its exported methods are called by the templates in schema/. Config
// has checked every name they return, and the rest is made of numbers and constants.
type ddl struct {
	*db
	older bool
}

// Table returns the quoted name by which a table or view is read.
func (d ddl) Table(name string) string { return d.tableName(name) }

// View returns the quoted name by which a view, or a table without records, is created.
func (d ddl) View(name string) string {
	return d.tableName(name) + d.cfg.Cluster.onCluster()
}

// Target returns the quoted name by which a table of records is created or changed.
func (d ddl) Target(name string) (string, error) {
	t, err := tableNamed(name)
	return d.quoted(d.localName(t)) + d.cfg.Cluster.onCluster(), err
}

// Older reports whether the database has migrations on record, so that its tables may be those of an older version.
func (d ddl) Older() bool { return d.older }

// Storage returns everything after the columns of a table of records, with a comment that has no quotes. On a cluster
// this includes the statement that creates the table over all servers.
func (d ddl) Storage(name, comment string) (string, error) {
	t, err := tableNamed(name)
	if err != nil {
		return "", err
	}
	text := "ENGINE = " + d.cfg.Cluster.engine(d.cfg.Engine.String()) +
		"\nPARTITION BY " + d.partition(t).expression() +
		"\nORDER BY (" + strings.Join(d.cfg.sortKey(t), ", ") + ")"
	if ttl := d.ttl(t); ttl != "" {
		text += "\nTTL " + ttl
	}
	var all []string
	for _, set := range append(d.settings(t), setting{granularity, strconv.Itoa(d.cfg.granularity(t))}) {
		all = append(all, set.String())
	}
	comment = "\nCOMMENT " + d.Text(comment)
	text += "\nSETTINGS " + strings.Join(all, ", ") + comment
	if cluster := d.cfg.Cluster; cluster.Name != "" {
		text += nextStatement + "CREATE TABLE IF NOT EXISTS " + d.tableName(name) + cluster.onCluster() +
			" AS " + d.quoted(d.localName(t)) +
			"\nENGINE = Distributed('" + cluster.Name + "', '" + d.cfg.Database + "', '" + d.localName(t) + "')" + comment
	}
	return text, nil
}

// Clustered reports whether the tables are those of a cluster.
func (d ddl) Clustered() bool { return d.cfg.Cluster.Name != "" }

// Database returns the name of the database, Name that of a table with its prefix, and Text such a name
// as a string of SQL: names contain no characters that need escaping.
func (d ddl) Database() string         { return d.cfg.Database }
func (d ddl) Name(table string) string { return d.cfg.TablePrefix + table }
func (d ddl) Text(name string) string  { return "'" + name + "'" }

// Window returns the settings for how many tokens of INSERTs a table without records remembers.
func (d ddl) Window() string {
	if d.cfg.Cluster.replicated() {
		return "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800"
	}
	return "non_replicated_deduplication_window = 10000"
}

// Bookkeeping returns the engine of a table without records, which is the same on all shards. Of rows with
// one key it keeps the one with the highest version.
func (d ddl) Bookkeeping(version string) string {
	cluster := d.cfg.Cluster
	if path := strings.ReplaceAll(cluster.Path, "{shard}", "all"); path != cluster.Path {
		cluster.Path = path
		cluster.Replica = "{shard}-" + cluster.Replica // unique among all shards
	}
	return cluster.engine("ReplacingMergeTree", version)
}

// ttl returns the TTL of a table in ClickHouse's own notation, so that the two can be compared.
func (d ddl) ttl(t table) string {
	var all []string
	if after := t.ttl(d.cfg.Tiers.After); after > 0 {
		all = append(all, expiry(after)+" TO VOLUME '"+d.cfg.Tiers.volume()+"'")
	}
	if ttl := t.ttl(d.cfg.TTL); ttl > 0 {
		all = append(all, expiry(ttl))
	}
	return strings.Join(all, ", ")
}

// expiry returns the time of an age of a row. It is at most lastExpiry, beyond which DateTime would begin again at 1970:
// also a row whose time is far in the future, by a wrong clock, is not dropped at once.
func expiry(age time.Duration) string {
	return fmt.Sprintf("toDateTime(least(toUnixTimestamp64Second(ts) + %d, %d))", (age+time.Second-1)/time.Second, int64(lastExpiry))
}

// granularity is the setting that is fixed when a table is created.
const granularity = "index_granularity"

// A setting is a setting of a table, with its value in SQL.
type setting struct{ name, value string }

func (s setting) String() string { return s.name + " = " + s.value }

// settings returns the settings of a table of records.
//
// The window of remembered tokens is 0 by default, so that tokens have no effect. A source may
// delete messages once the INSERT is confirmed, so the part must be on disk by then. Short
// partitions are dropped whole when all of their rows have expired; a month would keep rows too long.
//
// By default the server merges five parts at once, and counts each as 5 MiB at least: with the small ones of a live feed
// it then writes the large one beside them again each time (SimpleMergeSelector.h: the base is "the main knob to control
// the write amplification"). Measured with INSERTs of 1500 updates and of 440 trades every 280 ms: 5 writes a row 7.0 and
// 8.1 times, for 15.5 and 13.6 µs of CPU, 16 writes it 1.7 and 2.8 times, for 4.8 and 6.2 µs; a partition that is being
// written has ten parts on average, in place of five.
func (d ddl) settings(t table) []setting {
	all := []setting{{"fsync_after_insert", "1"}, {"fsync_part_directory", "1"}, {"merge_selector_base", "16"}}
	if d.cfg.Cluster.replicated() {
		all = append(all, setting{"replicated_deduplication_window", "10000"}, setting{"replicated_deduplication_window_seconds", "604800"})
	} else {
		all = append(all, setting{"non_replicated_deduplication_window", "10000"})
	}
	if d.cfg.Engine == ReplacingMergeTree {
		all = append(all, setting{"deduplicate_merge_projection_mode", "'rebuild'"})
	}
	if p := d.partition(t); p == Hour || p == Day {
		all = append(all, setting{"ttl_only_drop_parts", "1"})
	}
	if policy := d.cfg.Tiers.Policy; policy != "" {
		all = append(all, setting{"storage_policy", "'" + policy + "'"})
	}
	return all
}

// render executes a template of schema/.
func (d ddl) render(text string) (string, error) {
	t, err := template.New("").Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, d)
	return strings.TrimSpace(b.String()), err
}
