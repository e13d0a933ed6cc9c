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
	*db
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
	s := &Store{db: &db{conn: conn, cfg: cfg}, id: hex.EncodeToString(id[:])}
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
