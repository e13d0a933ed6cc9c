package chstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
)

// A Store writes records to ClickHouse and reads them back. It is safe for concurrent use.
type Store struct {
	*db
	planner planner
	writers [tableCount]*writer
	owned   *Conn // by Open; nil if it is the caller's
}

var _ sink.Sink = (*Store)(nil)

// Open connects to ClickHouse and returns a Store whose tables are there and up to date: it is Dial, New and Migrate. Close
// the Store at the end. The error is one of these three. A user who may not make tables calls Dial and New instead.
func Open(ctx context.Context, addr string, cfg Config) (*Store, error) {
	conn, err := Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	s, err := New(conn, cfg)
	if err == nil {
		err = s.Migrate(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s.owned = conn
	return s, nil
}

// Close closes the connections that Open has opened; a later Write fails. Those given to New are the caller's, and stay open.
func (s *Store) Close() error {
	if s.owned == nil {
		return nil
	}
	return s.owned.Close()
}

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
// Config included. Tables, views, columns and indexes that were dropped by hand are made again, empty: to restore a table
// by UNDROP, do that first. It never drops data but by a shorter TTL. It may be called at every start and by
// several processes at once. Its error is a *TierError, a *MigrationError, a *SchemaDiff or the
// driver's.
func (s *Store) Migrate(ctx context.Context) error { return s.migrator().migrate(ctx) }

// Plan returns the statements that Migrate would run, in order, and runs none; it returns no statement where all
// is up to date. Its errors are those of Migrate.
func (s *Store) Plan(ctx context.Context) ([]string, error) { return s.migrator().plan(ctx) }

func (s *Store) migrator() *migrator { return &migrator{ddl{db: s.db}} }

// Write stores records and returns once the server has them on disk. It is a sink.Sink; give it
// batches of ten thousand records and more, by a sink.Buffer, since each call makes an INSERT for
// every table, partition and source that occurs in recs.
//
// Writing the same records again is safe. Those with an Origin are stored once whatever happens:
// before an INSERT the store reads from the table itself which sequences of the source the
// partition holds, and after an INSERT whose outcome is unknown it makes sure that the INSERT is over and
// reads them again. Only one Store at a time may write records of one source (Config.Lease). Records without
// an Origin are stored once where the same batch is written again within the table's deduplication window; another
// batch with them in it stores them twice, which reads do not show.
//
// The error is a *sink.RefusedError with a *RecordError for each record that cannot be stored, before anything is
// sent, or one or more *InsertError, joined, after which any of the INSERTs may have been done, not only the first
// ones. What is Retryable has been retried, as Config says.
func (s *Store) Write(ctx context.Context, recs []marketprism.Record) error {
	if len(recs) == 0 {
		return nil
	}
	p, err := s.planner.plan(recs)
	if err != nil {
		return err
	}
	defer s.planner.release(p)
	var (
		errs [tableCount]error
		wg   sync.WaitGroup
	)
	for t := range tableCount {
		if len(p.tables[t].groups) > 0 {
			wg.Go(func() { errs[t] = s.writers[t].write(ctx, p.tables[t].groups) })
		}
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// A Watermark is how much of a source one partition of one table holds.
type Watermark struct {
	Table     string // without the prefix
	Partition uint32
	Sequence  uint64 // the highest that is stored
	Rows      uint64
}

// Watermark returns what each partition of each table holds of a source, that is, of records whose
// Origin.Source is src. It reads the tables themselves, by a projection that answers in milliseconds.
func (s *Store) Watermark(ctx context.Context, src string) (all []Watermark, err error) {
	defer s.observe(opWatermark)(&err)
	for _, w := range s.writers {
		marks, err := w.watermarks(ctx, src)
		if err != nil {
			return nil, err
		}
		all = append(all, marks...)
	}
	return all, nil
}

// VerifyWatermark returns a *WatermarkError unless the tables hold a source at least up to the sequence stored.
// Call it at the start, before the first Write, with the last position that was acknowledged to
// the source: it finds a disk that is missing. It proves nothing where those records have expired, or were set
// aside instead.
func (s *Store) VerifyWatermark(ctx context.Context, src string, stored uint64) error {
	marks, err := s.Watermark(ctx, src)
	if err != nil {
		return err
	}
	var has uint64
	for _, m := range marks {
		has = max(has, m.Sequence)
	}
	if has < stored {
		return &WatermarkError{Source: src, Had: stored, Has: has}
	}
	return nil
}

// Release gives up the leases of this Store, so that another one need not wait for them to end. Call it
// when the last Write is over; a later Write takes them again. Without Config.Lease it does nothing.
func (s *Store) Release(ctx context.Context) error {
	var errs []error
	for _, w := range s.writers {
		errs = append(errs, w.release(ctx))
	}
	return errors.Join(errs...)
}
