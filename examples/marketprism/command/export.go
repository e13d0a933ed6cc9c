package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/hftbacktest"
	"github.com/marketprism/marketprism/sink/nautilus"
	"github.com/marketprism/marketprism/sink/parquet"
	"github.com/marketprism/marketprism/sink/tardis"
)

// formats are the formats of files, in the order of the help.
func formats() []dayfile.Format {
	return []dayfile.Format{parquet.Format{}, tardis.Format{}, hftbacktest.Format{}, nautilus.Format{}}
}

// format returns the format of a name.
func format(name string) (dayfile.Format, error) {
	var names []string
	for _, f := range formats() {
		if f.Name() == name {
			return f, nil
		}
		names = append(names, f.Name())
	}
	return nil, oneOf("FORMAT", name, names)
}

// exportCommand is the command that writes the archive to files.
func exportCommand(p *program) *cobra.Command {
	var when span
	var out string
	var again bool
	cmd := &cobra.Command{
		Use: "export FORMAT SYMBOL…", Short: "Write days of the archive to files: parquet, tardis, hftbacktest, nautilus",
		Long: `Export writes the records of the archive to files that other programs read, one set for each symbol and UTC day: parquet for DuckDB,
Polars and pandas, tardis (CSV), hftbacktest (npz) or nautilus (a catalog of nautilus_trader). A file is complete or it is not
there. Called again it goes on at the last day that a symbol has; a manifest beside the files says what each day has.`,
		Example: `  marketprism export parquet BTCUSDT --from 2026-01-30T00:00:00Z --to 2026-02-01T00:00:00Z --out ./files --data ./data
  marketprism export hftbacktest BTCUSDT ETHUSDT --from -48h --out ./files --clickhouse ch:9000`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usageError{errors.New("export wants a FORMAT and one SYMBOL or more")}
			}
			f, err := format(args[0])
			if err != nil {
				return err
			}
			instruments, err := p.instruments(args[1:])
			if err = errors.Join(err, when.check()); err != nil {
				return err
			}
			if out == "" {
				return wantValue("--out", out, "a folder")
			}
			return p.withStore(cmd.Context(), func(store *chstore.Store) error {
				for _, in := range instruments {
					e := exporter{p: p, store: store, format: f, instrument: in, dir: out, again: again}
					if err := e.run(cmd.Context(), when.from.Time, when.to.Time); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	when.flags(cmd)
	cmd.Flags().StringVar(&out, "out", "", "the folder of the files, created if it does not exist")
	cmd.Flags().BoolVar(&again, "again", false, "write days again that have files")
	return cmd
}

// An exporter writes the files of one instrument.
type exporter struct {
	p          *program
	store      *chstore.Store
	format     dayfile.Format
	instrument marketprism.Instrument
	dir        string
	again      bool
}

const day = 24 * time.Hour

func (e *exporter) run(ctx context.Context, from, to time.Time) error {
	first, last, err := e.store.Span(ctx, e.instrument)
	if err != nil {
		return err
	}
	if last.IsZero() {
		return fmt.Errorf("the archive has no book of %s", e.instrument)
	}
	// Trades and gaps may be before the first book and after the last one.
	if begin := first.Truncate(day); from.Before(begin) {
		from = begin
	}
	if end := last.Truncate(day).Add(2 * day); to.IsZero() || to.After(end) {
		to = end
	}
	if from, err = e.resumeAt(from, to); err != nil {
		return err
	}
	if !from.Before(to) {
		return fmt.Errorf("the archive has books of %s from %s to %s", e.instrument, first.Format(time.RFC3339Nano), last.Format(time.RFC3339Nano))
	}
	// A log of its own, so that several exports may write to one folder.
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return err
	}
	log, err := os.MkdirTemp(e.dir, "_export-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(log)
	w, err := dayfile.New(dayfile.Config{Dir: e.dir, LogDir: log, NoSync: true, Hooks: &dayfile.Hooks{Written: e.written}}, e.format)
	if err != nil {
		return err
	}
	return errors.Join(e.write(ctx, w, from, to), w.Close())
}

// resumeAt returns where an export goes on: at the last of the days in sequence that have files, since that one may have been cut.
func (e *exporter) resumeAt(from, to time.Time) (time.Time, error) {
	for at := from.Truncate(day); !e.again && at.Before(to); at = at.Add(day) {
		_, err := dayfile.ReadManifest(e.dir, e.instrument, at)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return from, err
		}
		if at.After(from) {
			from = at
		}
	}
	return from, nil
}

// write replays day by day. The files of a day are made once the day after it was replayed: a record belongs to the day of
// its local clock, and the archive is in the order of the exchange's.
func (e *exporter) write(ctx context.Context, w *dayfile.Writer, from, to time.Time) error {
	books := true
	for at := from; at.Before(to); at = at.Truncate(day).Add(day) {
		end := at.Truncate(day).Add(day)
		if end.After(to) {
			end = to
		}
		query := chstore.ReplayQuery{Instruments: []marketprism.Instrument{e.instrument}, From: at, To: end}
		if err := e.store.Replay(ctx, query, chstore.ReplayConfig{Books: books}, w); err != nil {
			return err
		}
		books = false
		if err := w.Flush(ctx, at.Truncate(day)); err != nil {
			return err
		}
	}
	return w.Flush(ctx, time.Time{})
}

func (e *exporter) written(i dayfile.WrittenInfo) {
	m := i.Manifest
	size := int64(0)
	for _, f := range m.Files {
		size += f.Bytes
	}
	fmt.Fprintf(e.p.out, "%s %s: %d updates, %d trades, %d tickers, %d gaps in %d files of %d bytes\n",
		e.instrument, m.Date, m.Updates, m.Trades, m.Tickers, len(m.Gaps), len(m.Files), size)
}
