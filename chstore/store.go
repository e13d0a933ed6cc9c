package chstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/marketprism/marketprism/sink"
)

// A Store writes records to ClickHouse and reads them back. It is safe for concurrent use.
type Store struct {
	conn  *Conn
	cfg   Config
	hooks Hooks

	id      string // tells the INSERTs of this Store from those of any other
	queries atomic.Uint64

	tables [tableCount]*writer
	plans  sync.Pool // of *plan
}

var _ sink.Sink = (*Store)(nil)

// New returns a Store on open connections, which stay the caller's to close. Nothing is sent until the
// first call; use Dial for connections known to work.
//
// A Write takes up to five connections at once, one for each table, and so does Records.
func New(conn *Conn, cfg Config) (*Store, error) {
	if conn == nil {
		return nil, errors.New("chstore: no connection")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	var id [8]byte
	rand.Read(id[:])
	s := &Store{conn: conn, cfg: cfg, id: hex.EncodeToString(id[:])}
	if cfg.Hooks != nil {
		s.hooks = *cfg.Hooks
	}
	for t := range tableCount {
		s.tables[t] = newWriter(s, t)
	}
	s.plans.New = func() any { return new(plan) }
	return s, nil
}

// Ping asks the server whether it is there.
func (s *Store) Ping(ctx context.Context) error { return s.conn.Ping(ctx) }

// tableName returns the qualified, quoted name of a table of this Store, as it is read.
func (s *Store) tableName(name string) string { return s.quoted(s.cfg.TablePrefix + name) }

// localName returns the name of the table that holds the rows of this server: on one by itself the same.
func (s *Store) localName(t table) string { return s.localPrefix() + t.name() }

func (s *Store) localPrefix() string {
	if s.cfg.Cluster.Name == "" {
		return s.cfg.TablePrefix
	}
	return s.cfg.TablePrefix + "local_"
}

// quoted returns the qualified, quoted form of a name with its prefix.
func (s *Store) quoted(name string) string { return "`" + s.cfg.Database + "`.`" + name + "`" }

// partition returns the span of a table's partitions.
func (s *Store) partition(t table) Partition {
	if s.cfg.Partition != 0 {
		return s.cfg.Partition
	}
	return t.partition()
}
