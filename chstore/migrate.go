package chstore

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

//go:embed schema/*.sql
var schema embed.FS

// ErrNewerSchema is the cause in a *MigrationError where the database was made by a newer version of
// this package, and ErrChangedMigration where a migration on record has another text.
var (
	ErrNewerSchema      = errors.New("the database was migrated by a newer version of this library: use that version, or another database")
	ErrChangedMigration = errors.New("it was applied with another text")
)

// A MigrationError tells which migration failed.
type MigrationError struct {
	Version int
	Name    string
	Err     error
}

func (e *MigrationError) Error() string {
	return fmt.Sprintf("chstore: migration %d %s: %v", e.Version, e.Name, e.Err)
}

func (e *MigrationError) Unwrap() error { return e.Err }

// A migration is one statement that changes the schema, on a cluster perhaps two. ClickHouse has no transactions over DDL, so
// each has to be harmless when it is run again, and when two processes run it at once.
type migration struct {
	version  int
	name     string
	text     string // a template
	checksum string // of text
}

// nextStatement ends a statement of a migration that is more than one. The last one is recorded.
const nextStatement = ";\n\n"

// commonColumns is the file with what several migrations have in common.
const commonColumns = "schema/common.sql"

// bookkeeping is the file with the table of applied migrations, which is made before all others.
const bookkeeping = "schema/migrations.sql"

// Migrate creates the database and the tables and brings them up to date, the TTL, tiers and settings of
// Config included. It never drops data but by a shorter TTL. It may be called at every start and by
// several processes at once. Its error is a *TierError, a *MigrationError, a *SchemaDiff or the
// driver's.
func (s *Store) Migrate(ctx context.Context) error {
	steps, err := s.steps(ctx)
	if err != nil {
		return err
	}
	for _, st := range steps {
		if st.migration != nil {
			if err := s.apply(ctx, st); err != nil {
				return &MigrationError{Version: st.migration.version, Name: st.migration.name, Err: err}
			}
		} else if err := s.conn.Exec(inBackground(ctx), st.statement); err != nil {
			return fmt.Errorf("chstore: %s: %w", firstLine(st.statement), err)
		}
	}
	return nil
}

// Plan returns the statements that Migrate would run, in order, and runs none; nothing where all is
// up to date. Its errors are those of Migrate.
func (s *Store) Plan(ctx context.Context) ([]string, error) {
	steps, err := s.steps(ctx)
	var statements []string
	for _, st := range steps {
		statements = append(statements, st.statement)
	}
	return statements, err
}

// A step is one statement of Migrate.
type step struct {
	statement string
	migration *migration // recorded once it is done; nil for what needs no record
}

// steps returns what is to be done, from what is there.
func (s *Store) steps(ctx context.Context) ([]step, error) {
	if err := s.checkTiers(ctx); err != nil {
		return nil, err
	}
	all, applied, err := s.groundwork(ctx)
	if err != nil {
		return nil, err
	}
	migrations, err := readMigrations(schema)
	if err != nil {
		return nil, err
	}
	for version, a := range applied {
		if version > len(migrations) {
			return nil, &MigrationError{Version: version, Name: a.name, Err: ErrNewerSchema}
		}
	}
	for _, m := range migrations {
		a, done := applied[m.version]
		if done && a.checksum != m.checksum {
			return nil, &MigrationError{Version: m.version, Name: m.name, Err: ErrChangedMigration}
		}
		if !done {
			text, err := s.render(m.text)
			if err != nil {
				return nil, &MigrationError{Version: m.version, Name: m.name, Err: err}
			}
			if text == "" {
				continue // not on a cluster
			}
			for statement := range strings.SplitSeq(text, nextStatement) {
				all = append(all, step{statement: statement})
			}
			all[len(all)-1].migration = &m
		}
	}
	states, err := s.states(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.differences(states, migrations); err != nil {
		return nil, err
	}
	return append(all, s.alterations(states)...), nil
}

// groundwork makes the database and the table of applied migrations, or returns those.
func (s *Store) groundwork(ctx context.Context) (steps []step, applied map[int]migration, err error) {
	var databases, tables uint64
	err = s.conn.QueryRow(ctx, "SELECT (SELECT count() FROM system.databases WHERE name = {database:String}), "+
		"(SELECT count() FROM system.tables WHERE database = {database:String} AND name = {table:String})",
		clickhouse.Named("database", s.cfg.Database), clickhouse.Named("table", s.cfg.TablePrefix+"schema_migrations")).Scan(&databases, &tables)
	if err != nil {
		return nil, nil, fmt.Errorf("chstore: look at database %s: %w", s.cfg.Database, err)
	}
	if tables > 0 {
		applied, err = s.applied(ctx)
		return nil, applied, err
	}
	if databases == 0 {
		steps = append(steps, step{statement: "CREATE DATABASE IF NOT EXISTS `" + s.cfg.Database + "`" + s.cfg.Cluster.onCluster()})
	}
	text, err := schema.ReadFile(bookkeeping)
	if err != nil {
		return nil, nil, err
	}
	statement, err := s.render(string(text))
	return append(steps, step{statement: statement}), nil, err
}

// apply runs one migration and records it. A crash between the two runs it again, which is harmless.
func (s *Store) apply(ctx context.Context, st step) error {
	start, m := time.Now(), st.migration
	if err := s.conn.Exec(ctx, st.statement); err != nil {
		return err
	}
	batch, err := s.conn.PrepareBatch(ctx, "INSERT INTO "+s.tableName("schema_migrations")+
		" (version, name, checksum, applied_at, took_ms)")
	if err != nil {
		return err
	}
	defer batch.Close()
	if err := batch.Append(uint32(m.version), m.name, m.checksum, start, uint32(time.Since(start).Milliseconds())); err != nil {
		return err
	}
	return batch.Send()
}

// applied returns the migrations on record by version, with name and checksum alone.
func (s *Store) applied(ctx context.Context) (map[int]migration, error) {
	rows, err := s.conn.Query(ctx, "SELECT version, name, checksum FROM "+s.tableName("schema_migrations")+" FINAL")
	if err != nil {
		return nil, fmt.Errorf("chstore: read migrations: %w", err)
	}
	defer rows.Close()
	applied := make(map[int]migration)
	for rows.Next() {
		var version uint32
		var m migration
		if err := rows.Scan(&version, &m.name, &m.checksum); err != nil {
			return nil, fmt.Errorf("chstore: read migrations: %w", err)
		}
		applied[int(version)] = m
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("chstore: read migrations: %w", err)
	}
	return applied, nil
}

// readMigrations returns the files NNNN_name.sql, whose numbers count from 1 without a hole.
func readMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "schema/[0-9]*.sql")
	if err != nil {
		return nil, err
	}
	common, err := fs.ReadFile(files, commonColumns)
	if err != nil {
		return nil, err
	}
	var migrations []migration
	for i, file := range names {
		text, err := fs.ReadFile(files, file)
		if err != nil {
			return nil, err
		}
		number, name, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(file, "schema/"), ".sql"), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("chstore: migration file %s is not number %d", file, i+1)
		}
		sum := sha256.Sum256(append(common[:len(common):len(common)], text...))
		migrations = append(migrations, migration{version, name, string(common) + string(text), hex.EncodeToString(sum[:])})
	}
	return migrations, nil
}

// render fills in a template of schema/.
func (s *Store) render(text string) (string, error) {
	t, err := template.New("").Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, ddl{s})
	return strings.TrimSpace(b.String()), err
}
