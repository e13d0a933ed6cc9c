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
)

//go:embed schema/*.sql
var schema embed.FS

// ErrNewerSchema is the cause in a *MigrationError where the database was made by a newer version of
// this package, and ErrChangedMigration where a migration on record has another text.
var (
	ErrNewerSchema      = errors.New("the database was migrated by a newer version of this library")
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

// A migration is one statement that changes the schema. ClickHouse has no transactions over DDL, so
// each has to be harmless when it is run again, and when two processes run it at once.
type migration struct {
	version  int
	name     string
	text     string // a template
	checksum string // of text
}

// bookkeeping is the file with the table of applied migrations, which is made before all others.
const bookkeeping = "schema/migrations.sql"

// Migrate creates the database and the tables and brings them up to date. It may be called at every
// start and by several processes at once. Its error is a *MigrationError or the driver's.
func (s *Store) Migrate(ctx context.Context) error {
	migrations, err := readMigrations(schema)
	if err != nil {
		return err
	}
	if err := s.conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS `"+s.cfg.Database+"`"); err != nil {
		return fmt.Errorf("chstore: create database %s: %w", s.cfg.Database, err)
	}
	text, err := schema.ReadFile(bookkeeping)
	if err != nil {
		return err
	}
	if err := s.execute(ctx, string(text)); err != nil {
		return fmt.Errorf("chstore: create %sschema_migrations: %w", s.cfg.TablePrefix, err)
	}
	applied, err := s.applied(ctx)
	if err != nil {
		return err
	}
	for version, a := range applied {
		if version > len(migrations) {
			return &MigrationError{Version: version, Name: a.name, Err: ErrNewerSchema}
		}
	}
	for _, m := range migrations {
		a, done := applied[m.version]
		if done && a.checksum != m.checksum {
			return &MigrationError{Version: m.version, Name: m.name, Err: ErrChangedMigration}
		}
		if !done {
			if err := s.apply(ctx, m); err != nil {
				return &MigrationError{Version: m.version, Name: m.name, Err: err}
			}
		}
	}
	return nil
}

// apply runs one migration and records it. A crash between the two runs it again, which is harmless.
func (s *Store) apply(ctx context.Context, m migration) error {
	start := time.Now()
	if err := s.execute(ctx, m.text); err != nil {
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
		sum := sha256.Sum256(text)
		migrations = append(migrations, migration{version, name, string(text), hex.EncodeToString(sum[:])})
	}
	return migrations, nil
}

// execute runs a statement given as a template.
func (s *Store) execute(ctx context.Context, text string) error {
	statement, err := s.render(text)
	if err != nil {
		return err
	}
	return s.conn.Exec(ctx, statement)
}

func (s *Store) render(text string) (string, error) {
	t, err := template.New("").Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, ddl{s})
	return b.String(), err
}
