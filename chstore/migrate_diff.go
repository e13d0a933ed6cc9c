package chstore

import (
	"fmt"
	"regexp"
	"strings"
)

// A SchemaDiff lists how existing tables differ from those that this package would have made,
// where no ALTER can help: another partition key, sort key or engine, columns that are missing or of
// another type. Nothing was changed. To keep the data, rename such tables and copy from them.
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

// differences returns a *SchemaDiff unless the existing tables are as Config and the migrations make them.
func (mg *migrator) differences(states map[table]*tableState, migrations []migration) error {
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
		note("sort key", strings.Join(mg.cfg.sortKey(t), ", "), st.order)
		note(granularity, fmt.Sprint(mg.cfg.granularity(t)), settingOf(st.engine, granularity))
		columns, err := mg.definitions(t, migrations)
		if err != nil {
			return err
		}
		for _, c := range columns {
			got, ok := st.columns[c.name]
			switch {
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

// A definition is a column in a CREATE TABLE.
type definition struct{ name, kind, computed string }

// definitions returns the columns that the migrations give a table.
func (mg *migrator) definitions(t table, migrations []migration) ([]definition, error) {
	for _, m := range migrations {
		if m.name != t.name() {
			continue
		}
		text, err := mg.render(m.text)
		if err != nil {
			return nil, &MigrationError{Version: m.version, Name: m.name, Err: err}
		}
		return parseColumns(text), nil
	}
	return nil, fmt.Errorf("chstore: no migration makes the table %s", t.name())
}

var columnText = regexp.MustCompile(`^([a-z_0-9]+)\s+(.+?)\s*(?:\s(ALIAS|CODEC|COMMENT)\b.*)?$`)

// parseColumns reads the definitions between the brackets of a CREATE TABLE of schema/.
func parseColumns(text string) (columns []definition) {
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
			if m := columnText.FindStringSubmatch(line); m != nil && !strings.HasPrefix(line, "PROJECTION ") {
				d := definition{name: m[1], kind: m[2]}
				if m[3] == "ALIAS" {
					d.computed = m[3]
				}
				columns = append(columns, d)
			}
		}
	}
	return columns
}
