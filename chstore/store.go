package chstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"github.com/marketprism/marketprism/sink"
)

// A Store writes records to ClickHouse and reads them back. It is safe for concurrent use.
type Store struct {
	*db
	planner planner
	writers [tableCount]*writer
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
	d := &db{conn: conn, cfg: cfg}
	if cfg.Hooks != nil {
		d.hooks = *cfg.Hooks
	}
	var id [8]byte
	rand.Read(id[:])
	s := &Store{db: d, planner: planner{db: d}}
	for t := range tableCount {
		name := d.localName(t)
		s.writers[t] = newWriter(&recordTable{db: d, storeID: hex.EncodeToString(id[:]), table: t, name: name, quoted: d.quoted(name)})
	}
	return s, nil
}

// Ping asks the server whether it answers.
func (s *Store) Ping(ctx context.Context) error { return s.conn.Ping(ctx) }

// Stats returns the counts. Each is exact by itself; a Write in progress may have changed one and not yet another.
func (s *Store) Stats() Stats {
	var all Stats
	for _, w := range s.writers {
		t := w.counters.stats(w.table.name())
		all.Rows += t.Rows
		all.Skipped += t.Skipped
		all.Inserts += t.Inserts
		all.Retries += t.Retries
		all.Fences += t.Fences
		for _, n := range t.Failures {
			all.Failures += n
		}
		all.Tables = append(all.Tables, t)
	}
	return all
}

// Migrate creates the database and the tables and brings them up to date, the TTL, tiers and settings of
// Config included. It never drops data but by a shorter TTL. It may be called at every start and by
// several processes at once. Its error is a *TierError, a *MigrationError, a *SchemaDiff or the
// driver's.
func (s *Store) Migrate(ctx context.Context) error { return s.migrator().migrate(ctx) }

// Plan returns the statements that Migrate would run, in order, and runs none; it returns no statement where all
// is up to date. Its errors are those of Migrate.
func (s *Store) Plan(ctx context.Context) ([]string, error) { return s.migrator().plan(ctx) }

func (s *Store) migrator() *migrator { return &migrator{ddl{s.db}} }
