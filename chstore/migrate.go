package chstore

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed schema/*.sql
var schema embed.FS

// ErrNewerSchema is the cause in a *MigrationError where the database was made by a newer version of
// this package, and ErrChangedMigration where a migration on record has another text.
var (
	ErrNewerSchema      = errors.New("the database was migrated by a newer version of this library: use that version, or another database")
	ErrChangedMigration = errors.New("it was applied with another text")
)

// A MigrationError says which migration failed.
type MigrationError struct {
	Version int
	Name    string
	Err     error
}

func (e *MigrationError) Error() string {
	return fmt.Sprintf("chstore: migration %d %s: %v", e.Version, e.Name, e.Err)
}

func (e *MigrationError) Unwrap() error { return e.Err }

// A migration is a file of statements that make a table, change it, or make a view. ClickHouse has no transactions over
// DDL, so each must be harmless when it is run again, and when two processes run it at once.
//
// A view has no history: its one file holds what it is now, and gets the next number when its text changes. So a new
// database makes each view once, and one that stopped midway between two definitions cannot keep the older one. Its files
// come after those of the tables, as Flyway's repeatable migrations do ("always applied last"); the number, which those
// lack, keeps an older version of this package from putting its own views in the place of newer ones. So do the tables
// whose definition contains all changes until now: of the numbers that are missing, what was made by them is contained in
// the later files, as in a baseline migration of Flyway.
type migration struct {
	version  int
	name     string
	text     string // a template
	checksum string // of text

	statements []string // that text makes of the Config; none where it is for another one
}

// nextStatement separates the statements of a migration.
const nextStatement = ";\n\n"

// commonColumns is the file with the columns that several migrations have in common.
const commonColumns = "schema/common.sql"

// bookkeeping is the file with the table of applied migrations, which is made before all others.
const bookkeeping = "schema/migrations.sql"

// A migrator brings the tables of a database up to date.
type migrator struct{ ddl }

// migrateAttempts bounds how often Migrate starts over because another program changes the same tables.
const migrateAttempts = 20

// migrate runs the steps. It starts over, from what the server has then, where another program that migrates at the same
// time has replaced a table.
func (mg *migrator) migrate(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		err := mg.run(ctx)
		if !isReplaced(err) || attempt == migrateAttempts {
			return err
		}
	}
}

// isReplaced reports whether a statement has failed since its table was replaced meanwhile, by the server's error codes
// (src/Common/ErrorCodes.cpp).
func isReplaced(err error) bool {
	switch exceptionCode(err) {
	case
		60,  // UNKNOWN_TABLE
		107, // FILE_DOESNT_EXIST
		218, // TABLE_IS_DROPPED
		473, // DEADLOCK_AVOIDED
		517, // CANNOT_ASSIGN_ALTER
		521: // ATOMIC_RENAME_FAIL
		return true
	}
	return false
}

// run runs the steps, and then records the migrations that were applied, all in one INSERT. A crash before that runs them
// again, which is harmless.
func (mg *migrator) run(ctx context.Context) error {
	steps, err := mg.steps(ctx)
	if err != nil {
		return err
	}
	var done []applied
	start := time.Now()
	for _, st := range steps {
		if err = mg.apply(ctx, st); err != nil {
			break
		}
		if st.last {
			done = append(done, applied{st.migration, start, time.Since(start)})
			start = time.Now()
		}
	}
	return errors.Join(err, mg.record(ctx, done))
}

func (mg *migrator) apply(ctx context.Context, st step) error {
	if m := st.migration; m != nil {
		if err := mg.conn.Exec(ctx, st.statement); err != nil {
			return &MigrationError{Version: m.version, Name: m.name, Err: err}
		}
		return nil
	}
	if err := mg.conn.Exec(inBackground(ctx), st.statement); err != nil {
		return fmt.Errorf("chstore: %s: %w", firstLine(st.statement), err)
	}
	return nil
}

// plan returns the statements of the steps.
func (mg *migrator) plan(ctx context.Context) ([]string, error) {
	steps, err := mg.steps(ctx)
	var statements []string
	for _, st := range steps {
		statements = append(statements, st.statement)
	}
	return statements, err
}

// A step is one statement of Migrate.
type step struct {
	statement string
	migration *migration // to which it belongs; nil for what needs no record
	last      bool       // of its migration
}

// steps returns the statements that are left to run, from the state of the server. A migration on record is run again
// where something that it makes is missing, since somebody has dropped that, or where an earlier one is run again that
// makes or changes the same.
func (mg *migrator) steps(ctx context.Context) ([]step, error) {
	if err := mg.cfg.Tiers.check(ctx, mg.conn); err != nil {
		return nil, err
	}
	all, recorded, err := mg.groundwork(ctx)
	if err != nil {
		return nil, err
	}
	mg.older = len(recorded) > 0
	migrations, err := readMigrations(schema)
	if err != nil {
		return nil, err
	}
	for version, a := range recorded {
		if version > migrations[len(migrations)-1].version {
			return nil, &MigrationError{Version: version, Name: a.name, Err: ErrNewerSchema}
		}
	}
	for i := range migrations {
		m := &migrations[i]
		if a, done := recorded[m.version]; done && a.checksum != m.checksum {
			return nil, &MigrationError{Version: m.version, Name: m.name, Err: ErrChangedMigration}
		}
		text, err := mg.render(m.text)
		if err != nil {
			return nil, &MigrationError{Version: m.version, Name: m.name, Err: err}
		}
		if text != "" {
			m.statements = strings.Split(text, nextStatement)
		}
	}
	states, err := mg.states(ctx)
	if err != nil {
		return nil, err
	}
	missing, err := mg.missing(ctx, migrations)
	if err != nil {
		return nil, err
	}
	dropped, changed := false, maps.Clone(missing)
	for _, m := range migrations {
		_, done := recorded[m.version]
		if done && !changed.any(m.statements) || len(m.statements) == 0 {
			continue
		}
		dropped = dropped || done
		changed.add(m.statements)
		for _, statement := range m.statements {
			all = append(all, step{statement: statement, migration: &m})
		}
		all[len(all)-1].last = true
	}
	if dropped {
		if err := mg.checkDetached(ctx, missing); err != nil {
			return nil, err
		}
	}
	definitions, err := definitionsOf(migrations)
	if err != nil {
		return nil, err
	}
	if err := mg.differences(states, definitions); err != nil {
		return nil, err
	}
	return append(all, mg.alterations(states, definitions)...), nil
}

// groundwork returns the steps that make the database and the table of applied migrations, or, where that
// table exists, the migrations in it.
func (mg *migrator) groundwork(ctx context.Context) (steps []step, recorded map[int]migration, err error) {
	var databases, tables uint64
	err = mg.conn.oneRow(ctx, nil, "SELECT (SELECT count() FROM system.databases WHERE name = {database:String}), "+
		"(SELECT count() FROM system.tables WHERE database = {database:String} AND name = {table:String})",
		[]any{named("database", mg.cfg.Database), named("table", mg.cfg.TablePrefix+"schema_migrations")}, &databases, &tables)
	if err != nil {
		return nil, nil, fmt.Errorf("chstore: look at database %s: %w", mg.cfg.Database, err)
	}
	if tables > 0 {
		recorded, err = mg.recorded(ctx)
		return nil, recorded, err
	}
	if databases == 0 {
		steps = append(steps, step{statement: "CREATE DATABASE IF NOT EXISTS `" + mg.cfg.Database + "`" + mg.cfg.Cluster.onCluster()})
	}
	text, err := schema.ReadFile(bookkeeping)
	if err != nil {
		return nil, nil, err
	}
	statement, err := mg.render(string(text))
	return append(steps, step{statement: statement}), nil, err
}

// An applied is a migration that was applied, for its record.
type applied struct {
	migration *migration
	start     time.Time
	took      time.Duration
}

// record records the migrations that were applied.
func (mg *migrator) record(ctx context.Context, done []applied) error {
	if len(done) == 0 {
		return nil
	}
	batch, err := mg.conn.PrepareBatch(ctx, "INSERT INTO "+mg.tableName("schema_migrations")+
		" (version, name, checksum, applied_at, took_ms)")
	if err != nil {
		return err
	}
	defer batch.Close()
	for _, a := range done {
		if err := batch.Append(uint32(a.migration.version), a.migration.name, a.migration.checksum, a.start, uint32(a.took.Milliseconds())); err != nil {
			return err
		}
	}
	return batch.Send()
}

// recorded returns the migrations on record by version, with name and checksum alone.
func (mg *migrator) recorded(ctx context.Context) (map[int]migration, error) {
	recorded := make(map[int]migration)
	err := mg.conn.eachRow(ctx, "SELECT version, name, checksum FROM "+mg.tableName("schema_migrations")+" FINAL", nil, func(rows driver.Rows) error {
		var version uint32
		var m migration
		err := rows.Scan(&version, &m.name, &m.checksum)
		recorded[int(version)] = m
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("chstore: read migrations: %w", err)
	}
	return recorded, nil
}

// readMigrations returns the files NNNN_name.sql in the order of their numbers.
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
	for _, file := range names {
		text, err := fs.ReadFile(files, file)
		if err != nil {
			return nil, err
		}
		number, name, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(file, "schema/"), ".sql"), "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("chstore: migration file %s: %w", file, err)
		}
		sum := sha256.Sum256(append(common[:len(common):len(common)], text...))
		migrations = append(migrations, migration{
			version: version, name: name, text: string(common) + string(text), checksum: hex.EncodeToString(sum[:]),
		})
	}
	return migrations, nil
}

// firstLine returns the first line of a text, with … if there are more.
func firstLine(s string) string {
	for i, c := range s {
		if c == '\n' {
			return fmt.Sprint(s[:i], " …")
		}
	}
	return s
}
