package chstore

import (
	"time"

	"github.com/marketprism/marketprism/internal/hook"
)

// A db is the tables of a Config on a server: what every part of a Store works with.
type db struct {
	conn  *Conn
	cfg   Config
	hooks Hooks
}

// observe starts to time a read. The function it returns calls Hooks.Answered with the result.
func (d *db) observe(op Op) (end func(err *error)) {
	start := time.Now()
	return func(err *error) {
		hook.Call(d.hooks.Answered, AnswerInfo{Op: op, Took: time.Since(start), Err: *err})
	}
}

// tableName returns the qualified, quoted name that a table or view is read by.
func (d *db) tableName(name string) string { return d.quoted(d.cfg.TablePrefix + name) }

// localName returns the name of the table with the rows of the connected server. Without a cluster it is the
// name that the table is read by.
func (d *db) localName(t table) string { return d.localPrefix() + t.name() }

func (d *db) localPrefix() string {
	if d.cfg.Cluster.Name == "" {
		return d.cfg.TablePrefix
	}
	return d.cfg.TablePrefix + "local_"
}

// quoted returns the qualified, quoted form of a name that has its prefix.
func (d *db) quoted(name string) string { return "`" + d.cfg.Database + "`.`" + name + "`" }

// partition returns the time span of a table's partitions.
func (d *db) partition(t table) Partition {
	if d.cfg.Partition != 0 {
		return d.cfg.Partition
	}
	return t.partition()
}

// tableArgs returns the parameters for queries of system tables: the database, the names of the record
// tables, and skip, where in such a name the part without the prefix begins.
func (d *db) tableArgs() []any {
	var names []string
	for t := range tableCount {
		names = append(names, d.localName(t))
	}
	return []any{
		named("database", d.cfg.Database), named("tables", names),
		named("skip", uint64(len(d.localPrefix())+1)),
	}
}
