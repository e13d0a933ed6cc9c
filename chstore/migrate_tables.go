package chstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// A tableState is a table of records on the server, as system tables describe it.
type tableState struct {
	engine  string // MergeTree PARTITION BY … ORDER BY … TTL … SETTINGS …
	kind    string // MergeTree, ReplicatedMergeTree, …
	part    string // the partition key
	order   string // the sort key
	columns map[string]columnState
	indexes map[string]string // their definitions, see plainIndex
}

type columnState struct{ kind, codec, computed string }

// states returns the state of the tables of records that exist.
func (mg *migrator) states(ctx context.Context) (map[table]*tableState, error) {
	states := make(map[table]*tableState)
	err := mg.eachTable(ctx, "SELECT substring(name, {skip:UInt64}), engine_full, engine, partition_key, sorting_key FROM system.tables "+
		"WHERE database = {database:String} AND name IN {tables:Array(String)}",
		func(t table, v []string) {
			states[t] = &tableState{
				engine: v[0], kind: v[1], part: v[2], order: v[3],
				columns: make(map[string]columnState), indexes: make(map[string]string),
			}
		})
	if err != nil {
		return nil, err
	}
	err = mg.eachTable(ctx, "SELECT substring(table, {skip:UInt64}), name, type, compression_codec, if(default_kind = 'ALIAS', default_kind, '') FROM system.columns "+
		"WHERE database = {database:String} AND table IN {tables:Array(String)}",
		func(t table, v []string) {
			if st := states[t]; st != nil {
				st.columns[v[0]] = columnState{kind: v[1], codec: v[2], computed: v[3]}
			}
		})
	if err != nil {
		return nil, err
	}
	return states, mg.eachTable(ctx, "SELECT substring(table, {skip:UInt64}), name, concat(type_full, ' GRANULARITY ', toString(granularity)) FROM system.data_skipping_indices "+
		"WHERE database = {database:String} AND table IN {tables:Array(String)}",
		func(t table, v []string) {
			if st := states[t]; st != nil {
				st.indexes[v[0]] = plainIndex(v[1])
			}
		})
}

// A missingObjects holds the names of the tables and views that the migrations make and the database does not have.
type missingObjects map[string]bool

// objectText matches the beginning of a statement that makes, changes or drops a table or a view.
var objectText = regexp.MustCompile("^(CREATE|ALTER|DROP) (?:OR REPLACE )?(?:TABLE|VIEW|MATERIALIZED VIEW) (?:IF (?:NOT )?EXISTS )?`\\w+`\\.`(\\w+)`")

// missing looks for everything that the migrations make. What a later one drops does not count.
func (mg *migrator) missing(ctx context.Context, migrations []migration) (missingObjects, error) {
	missing := make(missingObjects)
	for _, m := range migrations {
		for _, statement := range m.statements {
			if verb, name := objectOf(statement); verb == "CREATE" {
				missing[name] = true
			} else if verb == "DROP" {
				delete(missing, name)
			}
		}
	}
	err := mg.conn.eachRow(ctx, "SELECT name FROM system.tables WHERE database = {database:String}",
		[]any{named("database", mg.cfg.Database)}, func(rows driver.Rows) error {
			var name string
			err := rows.Scan(&name)
			delete(missing, name)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("chstore: look at tables: %w", err)
	}
	return missing, nil
}

// checkDetached returns a *SchemaDiff if anything that is missing was not dropped but detached. CREATE TABLE IF NOT EXISTS does
// nothing then, and says nothing.
func (mg *migrator) checkDetached(ctx context.Context, missing missingObjects) error {
	var diff SchemaDiff
	err := mg.conn.eachRow(ctx, "SELECT table FROM system.detached_tables WHERE database = {database:String} ORDER BY table",
		[]any{named("database", mg.cfg.Database)}, func(rows driver.Rows) error {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			if missing[name] {
				diff.Differences = append(diff.Differences, &SchemaError{Table: name, What: "state", Want: "attached", Got: "detached"})
			}
			return nil
		})
	if err != nil {
		return fmt.Errorf("chstore: look at detached tables: %w", err)
	}
	if len(diff.Differences) > 0 {
		return &diff
	}
	return nil
}

// objectOf returns what a statement does to which table or view, without the database.
func objectOf(statement string) (verb, name string) {
	m := objectText.FindStringSubmatch(statement)
	if m == nil {
		return "", ""
	}
	return m[1], m[2]
}

// any reports whether statements make or change something that is missing.
func (mo missingObjects) any(statements []string) bool {
	return slices.ContainsFunc(statements, func(statement string) bool {
		_, name := objectOf(statement)
		return mo[name]
	})
}

// add adds what statements make or change.
func (mo missingObjects) add(statements []string) {
	for _, statement := range statements {
		_, name := objectOf(statement)
		mo[name] = true
	}
}

// eachTable runs a query that selects the name of a table of records and other texts.
func (mg *migrator) eachTable(ctx context.Context, query string, each func(t table, values []string)) error {
	err := mg.conn.eachRow(ctx, query, mg.tableArgs(), func(rows driver.Rows) error {
		values := make([]string, len(rows.Columns()))
		dest := make([]any, len(values))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		t, err := tableNamed(values[0])
		if err != nil {
			return err
		}
		each(t, values[1:])
		return nil
	})
	if err != nil {
		return fmt.Errorf("chstore: look at tables: %w", err)
	}
	return nil
}

// alterations returns the steps that give the tables the computed columns and the indexes of their definitions, which a
// table of an older version may lack, and the settings, the TTL, the codecs and the indexes of Config. A table that does
// not exist yet is created with all but the last two.
func (mg *migrator) alterations(states map[table]*tableState, definitions map[table][]definition) (steps []step) {
	for t := range tableCount {
		st := states[t]
		if st != nil {
			steps = append(steps, mg.complete(t, st, definitions[t])...)
			steps = append(steps, mg.alter(t, st)...)
		}
		steps = append(steps, mg.alterLayout(t, st)...)
	}
	return steps
}

// complete compares what can be added without a change of the stored rows.
func (mg *migrator) complete(t table, st *tableState, definitions []definition) (steps []step) {
	for _, d := range definitions {
		switch {
		case d.index && st.indexes[d.name] == "":
			steps = append(steps, mg.alterStep(t, "ADD INDEX IF NOT EXISTS "+d.text))
		case d.computed != "" && st.columns[d.name].kind == "":
			add := mg.alterStep(t, "ADD COLUMN IF NOT EXISTS "+d.text)
			steps = append(steps, add)
			if mg.cfg.Cluster.Name != "" {
				add.statement = strings.Replace(add.statement, mg.quoted(mg.localName(t)), mg.tableName(t.name()), 1)
				steps = append(steps, add)
			}
		}
	}
	return steps
}

// alter compares settings and TTL. Settings come first: a TTL can name a volume only of the table's own
// policy.
func (mg *migrator) alter(t table, st *tableState) (steps []step) {
	rest, settings, _ := strings.Cut(st.engine, " SETTINGS ")
	_, ttl, _ := strings.Cut(rest, " TTL ")
	has := make(map[string]bool)
	for set := range strings.SplitSeq(settings, ", ") {
		has[set] = true
	}
	var change []string
	for _, set := range mg.settings(t) {
		if !has[set.String()] {
			change = append(change, set.String())
		}
	}
	if len(change) > 0 {
		steps = append(steps, mg.alterStep(t, "MODIFY SETTING "+strings.Join(change, ", ")))
	}
	switch want := mg.ttl(t); {
	case want == ttl:
	case want == "":
		steps = append(steps, mg.alterStep(t, "REMOVE TTL"))
	default:
		steps = append(steps, mg.alterStep(t, "MODIFY TTL "+want))
	}
	return steps
}

// alterLayout compares codecs and indexes; st is nil for a table that does not exist yet.
func (mg *migrator) alterLayout(t table, st *tableState) (steps []step) {
	layout := t.layout(mg.cfg.Layouts)
	for _, column := range slices.Sorted(maps.Keys(layout.Codecs)) {
		codec := layout.Codecs[column]
		if st == nil || plainCodec(st.columns[column].codec) != plainCodec("CODEC("+codec+")") {
			steps = append(steps, mg.alterStep(t, "MODIFY COLUMN `"+column+"` CODEC("+codec+")"))
		}
	}
	for _, index := range layout.Indexes {
		want, has := index.Type+" GRANULARITY "+strconv.Itoa(max(index.Granularity, 1)), ""
		if st != nil {
			has = st.indexes[index.Name]
		}
		if has == plainIndex(want) {
			continue
		}
		if has != "" { // there is no ALTER that changes one
			steps = append(steps, mg.alterStep(t, "DROP INDEX `"+index.Name+"`"))
		}
		steps = append(steps, mg.alterStep(t, "ADD INDEX IF NOT EXISTS `"+index.Name+"` `"+index.Column+"` TYPE "+want))
	}
	return steps
}

func (mg *migrator) alterStep(t table, change string) step {
	return step{statement: "ALTER TABLE " + mg.quoted(mg.localName(t)) + mg.cfg.Cluster.onCluster() + " " + change}
}

var (
	widthOfCodec = regexp.MustCompile(`(Delta|Gorilla)\(\d\)`)
	kindOfT64    = regexp.MustCompile(`T64\('byte'\)`)
)

// plainCodec makes the texts of a codec comparable: ClickHouse adds the width of the column's type and
// its own levels where they were left out.
func plainCodec(codec string) string {
	codec = strings.ReplaceAll(codec, " ", "")
	codec = widthOfCodec.ReplaceAllString(codec, "$1")
	codec = kindOfT64.ReplaceAllString(codec, "T64")
	codec = strings.ReplaceAll(codec, "ZSTD(1)", "ZSTD")
	codec = strings.ReplaceAll(codec, "LZ4HC(9)", "LZ4HC")
	return strings.ReplaceAll(codec, "FPC(12)", "FPC")
}

// plainIndex makes the texts of a skip index's type and granularity comparable. They leave its column out:
// for an ALIAS the server shows the expression.
func plainIndex(text string) string {
	return strings.NewReplacer(" ", "", "bloom_filter()", "bloom_filter", "bloom_filter(0.025)", "bloom_filter").Replace(text)
}

// inBackground lets a statement return before the existing rows have been processed: in a
// large table that takes hours.
func inBackground(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 0, "alter_sync": 1}))
}

// A SchemaDiff lists how existing tables differ from those that this package would have made,
// where no ALTER can help: another partition key, sort key or engine, columns that are missing or of
// another type, a table that is detached. Nothing was changed. To keep the data, rename such tables and copy from them.
type SchemaDiff struct{ Differences []*SchemaError }

func (e *SchemaDiff) Error() string {
	texts := make([]string, len(e.Differences))
	for i, d := range e.Differences {
		texts[i] = strings.TrimPrefix(d.Error(), "chstore: ")
	}
	return "chstore: tables cannot be used: " + strings.Join(texts, "; ")
}

func (e *SchemaDiff) Unwrap() []error {
	all := make([]error, len(e.Differences))
	for i, d := range e.Differences {
		all[i] = d
	}
	return all
}

// differences returns a *SchemaDiff unless the existing tables are as Config and the migrations make them, or can be
// completed.
func (mg *migrator) differences(states map[table]*tableState, definitions map[table][]definition) error {
	var diff SchemaDiff
	for t := range tableCount {
		st := states[t]
		if st == nil {
			continue
		}
		note := func(what, want, got string) {
			if want != got {
				diff.Differences = append(diff.Differences, &SchemaError{Table: mg.localName(t), What: what, Want: want, Got: got})
			}
		}
		engine, _, _ := strings.Cut(mg.cfg.Cluster.engine(mg.cfg.Engine.String()), "(")
		note("engine", engine, st.kind)
		note("partition key", mg.partition(t).expression(), st.part)
		if !mg.cfg.hadSortKey(t, st.order) {
			note("sort key", strings.Join(mg.cfg.sortKey(t), ", "), st.order)
		}
		if t.layout(mg.cfg.Layouts).IndexGranularity != 0 { // else it may be that of an older version
			note(granularity, fmt.Sprint(mg.cfg.granularity(t)), settingOf(st.engine, granularity))
		}
		for _, c := range definitions[t] {
			got, ok := st.columns[c.name]
			switch {
			case c.index || !ok && c.computed != "":
			case !ok:
				note("column", c.name+" "+c.kind, "")
			case got.computed != c.computed:
				note("column "+c.name, c.kind+" "+c.computed, got.kind+" "+got.computed)
			default:
				note("type of "+c.name, c.kind, got.kind)
			}
		}
	}
	if len(diff.Differences) > 0 {
		return &diff
	}
	return nil
}

func settingOf(engine, name string) string {
	_, rest, _ := strings.Cut(engine, name+" = ")
	value, _, _ := strings.Cut(rest, ",")
	return value
}

// A definition is a column or an index in a CREATE TABLE.
type definition struct {
	name, kind, computed string
	index                bool
	text                 string // from the name on
}

// definitionsOf returns the columns and indexes that the migrations give the tables of records.
func definitionsOf(migrations []migration) (map[table][]definition, error) {
	all := make(map[table][]definition)
	for _, m := range migrations {
		if t, err := tableNamed(m.name); err == nil {
			all[t] = parseDefinitions(m.statements[0])
		}
	}
	if len(all) != int(tableCount) {
		return nil, errors.New("chstore: a table of records has no migration")
	}
	return all, nil
}

var columnText = regexp.MustCompile(`^([a-z_0-9]+)\s+(.+?)\s*(?:\s(ALIAS|CODEC|COMMENT)\b.*)?$`)

// parseDefinitions reads the definitions between the brackets of a CREATE TABLE of schema/.
func parseDefinitions(text string) (all []definition) {
	_, text, _ = strings.Cut(text, "\n(\n")
	text, _, _ = strings.Cut(text, "\n)\n")
	depth, start, quoted := 0, 0, false
	text += ","
	for i, c := range text {
		switch {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			line := strings.Join(strings.Fields(text[start:i]), " ")
			start = i + 1
			if index, ok := strings.CutPrefix(line, "INDEX "); ok {
				name, _, _ := strings.Cut(index, " ")
				all = append(all, definition{name: name, index: true, text: index})
			} else if m := columnText.FindStringSubmatch(line); m != nil {
				d := definition{name: m[1], kind: m[2], text: line}
				if m[3] == "ALIAS" {
					d.computed = m[3]
				}
				all = append(all, d)
			}
		}
	}
	return all
}
