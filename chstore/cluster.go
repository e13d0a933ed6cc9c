package chstore

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A Cluster spreads the tables over several servers. The zero value is one server by itself.
//
// On a cluster every statement of Migrate runs ON CLUSTER. A table of records is then two: one on each
// server, whose name begins with local_, replicated within its shard by Keeper; and one over all of
// them, with the engine Distributed, under the usual name, which reads and views use. A Store writes to
// the server it is connected to, so that it knows what is stored; give each writer a shard, and all
// writers of a source the same. INSERTs wait for a quorum of the replicas.
//
// Usage, Disks, Check of the tables, and changes of Layout see only the server of the connection.
type Cluster struct {
	// Name is the cluster in the servers' configuration. "" means one server by itself.
	Name string
	// Path is where Keeper holds the state of a table. It may contain the servers' macros and
	// {database}, and must contain {table}. "" means
	// /clickhouse/tables/{shard}/{database}/{table}.
	Path string
	// Replica is the name of a server among those of its shard. "" means {replica}.
	Replica string
	// Unreplicated leaves every row on one server only, without Keeper for the tables.
	Unreplicated bool
}

var (
	keeperPath  = regexp.MustCompile(`^/[A-Za-z0-9_./{}-]*\{table\}[A-Za-z0-9_./{}-]*$`)
	replicaName = regexp.MustCompile(`^[A-Za-z0-9_.{}-]+$`)
)

func (c Cluster) withDefaults() (Cluster, error) {
	if c.Name == "" {
		if c != (Cluster{}) {
			return c, errors.New("chstore: Cluster without a Name")
		}
		return c, nil
	}
	if c.Unreplicated && (c.Path != "" || c.Replica != "") {
		return c, errors.New("chstore: Cluster: Unreplicated with a Path or a Replica")
	}
	if c.Path == "" {
		c.Path = "/clickhouse/tables/{shard}/{database}/{table}"
	}
	if c.Replica == "" {
		c.Replica = "{replica}"
	}
	switch {
	case !isName(c.Name):
		return c, fmt.Errorf("chstore: Cluster.Name %q: want letters, digits and underscores", c.Name)
	case !keeperPath.MatchString(c.Path):
		return c, fmt.Errorf("chstore: Cluster.Path %q: want /letters/{macros}/{table}", c.Path)
	case !replicaName.MatchString(c.Replica):
		return c, fmt.Errorf("chstore: Cluster.Replica %q: want letters, digits and {macros}", c.Replica)
	}
	return c, nil
}

// replicated reports whether each table is kept by several servers.
func (c Cluster) replicated() bool { return c.Name != "" && !c.Unreplicated }

// engine returns an engine with its arguments.
func (c Cluster) engine(name string, args ...string) string {
	if c.replicated() {
		name = "Replicated" + name
		args = append([]string{"'" + c.Path + "'", "'" + c.Replica + "'"}, args...)
	}
	if len(args) == 0 {
		return name
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

// onCluster returns the ON CLUSTER clause of a statement, with a space before it; "" without a cluster.
func (c Cluster) onCluster() string {
	if c.Name == "" {
		return ""
	}
	return " ON CLUSTER `" + c.Name + "`"
}

// processes returns the table of the queries that run on any server.
func (c Cluster) processes() string {
	if c.Name == "" {
		return "system.processes"
	}
	return "clusterAllReplicas('" + c.Name + "', system.processes)"
}
