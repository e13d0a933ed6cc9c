package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/compare"
	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/examples/plain"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// withStore opens the archive for use.
func (p *program) withStore(ctx context.Context, use func(*chstore.Store) error) error {
	cfg := p.settings.Config
	if cfg.ClickHouse == "" && cfg.Data != "" && !engines.HasArchive(cfg.Data) {
		return wantValue(p.settings.Place("data"), cfg.Data, "the folder of an earlier run or archive, with an embedded ClickHouse")
	}
	if cfg.ClickHouse == "" {
		if err := checkUnused(p.settings); err != nil {
			return err
		}
	}
	archive, err := engines.OpenArchive(ctx, cfg.ClickHouse, engines.Embedded{Dir: cfg.Data}, cfg.Store(), cfg.ClickHouseCA)
	if errors.Is(err, engines.ErrNoArchive) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	return errors.Join(use(archive.Store), archive.Close())
}

// instruments returns those of symbols, in any case, of the configured market.
func (p *program) instruments(symbols []string) ([]marketprism.Instrument, error) {
	var all []marketprism.Instrument
	for _, symbol := range symbols {
		all = append(all, marketprism.Instrument{
			Exchange: marketprism.Binance, Market: marketprism.Market(p.settings.Config.Market), Symbol: strings.ToUpper(symbol),
		})
	}
	if err := config.CheckSymbols("SYMBOL", symbols); err != nil {
		return nil, usageError{err}
	}
	return all, nil
}

// checkSteps is the length of the bar of a check.
const checkSteps = 1000

func (p *program) check() *cobra.Command {
	var when span
	var asJSON, skipBooks bool
	cmd := &cobra.Command{
		Use: "check [SYMBOL…]", Short: "Look for missing ranges, duplicates and broken books in the archive",
		Long: `Check looks for missing updates, trades and snapshots, duplicates, crossed books, silence, numbers and times that cannot be, snapshots that contradict
the updates before them, and tables that are not as they should be. It exits with 3 if it finds any.`,
		Example: `  marketprism check --clickhouse ch:9000 --from -24h
  marketprism check --clickhouse ch:9000 --json BTCUSDT   # for cron`,
		RunE: func(cmd *cobra.Command, args []string) error {
			instruments, err := p.instruments(args)
			if err = errors.Join(err, when.check()); err != nil {
				return err
			}
			return p.withStore(cmd.Context(), func(store *chstore.Store) error {
				bar := p.newBar("checking", checkSteps)
				report, err := store.Check(cmd.Context(), chstore.CheckQuery{
					Instruments: instruments, From: when.from.Time, To: when.to.Time, SkipBooks: skipBooks,
					Progress: func(done float64) { bar.set(int64(done * checkSteps)) },
				})
				bar.end()
				if err != nil {
					return err
				}
				if asJSON {
					encoder := json.NewEncoder(plain.JSON(p.out))
					encoder.SetIndent("", "  ")
					err = encoder.Encode(report)
				} else {
					_, err = fmt.Fprint(p.out, plain.Text(report.String()))
				}
				if err == nil && !report.OK() {
					err = errFound
				}
				return err
			})
		},
	}
	when.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	cmd.Flags().BoolVar(&skipBooks, "skip-books", false, "leave out the check that reads all updates")
	return cmd
}

func (p *program) bookAt() *cobra.Command {
	at := moment{}
	var levels int
	cmd := &cobra.Command{
		Use: "book-at SYMBOL", Short: "Print a book as it was at a moment", Args: exactArgs("SYMBOL"),
		Example: `  marketprism book-at BTCUSDT --at 2026-01-31T12:00:00.5Z --clickhouse ch:9000
  marketprism book-at BTCUSDT --at -5m --levels 20 --data ./data`,
		RunE: func(cmd *cobra.Command, args []string) error {
			instruments, err := p.instruments(args)
			switch {
			case err != nil:
				return err
			case at.IsZero():
				return wantValue("--at", "", "a time such as 2026-01-31T12:00:00Z, now, or -1h for an hour ago")
			case levels < -1 || levels == 0:
				return wantValue("--levels", levels, "1 or more, or -1, which means all")
			}
			return p.withStore(cmd.Context(), func(store *chstore.Store) error {
				inst := instruments[0]
				book, err := p.bookOf(cmd.Context(), store, inst, at.Time)
				if err != nil {
					return err
				}
				fmt.Fprintf(p.out, "%s at %s: update id %d, %d bids, %d asks\n", inst, at.String(), book.LastID(), book.BidCount(), book.AskCount())
				asks := book.AppendAsks(nil, levels)
				for i := len(asks) - 1; i >= 0; i-- {
					fmt.Fprintf(p.out, "ask %20s %20s\n", asks[i].Price, asks[i].Quantity)
				}
				for _, bid := range book.AppendBids(nil, levels) {
					fmt.Fprintf(p.out, "bid %20s %20s\n", bid.Price, bid.Quantity)
				}
				return nil
			})
		},
	}
	cmd.Flags().Var(&at, "at", "the moment, such as 2026-01-31T12:00:00Z or -5m")
	cmd.Flags().IntVar(&levels, "levels", 10, "levels of each side; -1 means all")
	return cmd
}

// bookOf returns a book, or an error that says what the archive has. It warns of a moment after the last record.
func (p *program) bookOf(ctx context.Context, store *chstore.Store, inst marketprism.Instrument, at time.Time) (*orderbook.Book, error) {
	book, err := store.BookAt(ctx, inst, at)
	var missing *chstore.MissingError
	if err != nil && !errors.Is(err, chstore.ErrNoSnapshot) && !errors.As(err, &missing) {
		return nil, err
	}
	first, last, spanErr := store.Span(ctx, inst)
	has := fmt.Sprintf("it has books from %s to %s", first.Format(time.RFC3339Nano), last.Format(time.RFC3339Nano))
	switch {
	case spanErr != nil:
		return nil, errors.Join(err, spanErr)
	case last.IsZero():
		return nil, fmt.Errorf("the archive has no book of %s", inst)
	case missing != nil && !at.After(last):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("the archive has no book of %s at %s; %s", inst, at.UTC().Format(time.RFC3339Nano), has)
	case at.After(last):
		fmt.Fprintf(p.errOut, "the archive of %s ends at %s, %v before; this is its last book\n",
			inst, last.Format(time.RFC3339Nano), at.Sub(last).Round(time.Millisecond))
	}
	return book, nil
}

func (p *program) streams() *cobra.Command {
	return &cobra.Command{
		Use: "streams", Short: "Make the streams of NATS, or change their bounds to the settings", Args: exactArgs(),
		Long: `Streams makes the streams of NATS, or changes existing ones to --bus-bytes, --bus-age and --bus-replicas. Collectors and
archivers do so too when they start; where their users may not, they want streams that are as their settings say.`,
		Example: `  MARKETPRISM_NATS=nats://admin:PASSWORD@bus:4222 marketprism streams --bus-bytes 68719476736`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bus, err := p.findBus(cmd.Context())
			if err != nil {
				return err
			}
			defer bus.Close()
			if err := natsbus.EnsureStreams(cmd.Context(), bus.JS, p.settings.Config.Streams()); err != nil {
				return err
			}
			return p.printStreams(cmd.Context(), bus)
		},
	}
}

func (p *program) migrate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "migrate", Short: "Create or change the tables", Args: exactArgs(),
		Long:    "Migrate updates the tables to this version. It is idempotent; run and archive do it when they start.",
		Example: "  marketprism migrate plan --clickhouse ch:9000   # prints the changes\n  marketprism migrate --clickhouse ch:9000",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withStore(cmd.Context(), func(store *chstore.Store) error {
				if err := store.Migrate(cmd.Context()); err != nil {
					return err
				}
				_, err := fmt.Fprintln(p.out, "the tables are up to date")
				return err
			})
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use: "plan", Short: "Print the statements that migrate would run", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withStore(cmd.Context(), func(store *chstore.Store) error {
				statements, err := store.Plan(cmd.Context())
				for _, s := range statements {
					fmt.Fprintf(p.out, "%s;\n\n", plain.Text(strings.TrimSpace(s)))
				}
				if err == nil && len(statements) == 0 {
					fmt.Fprintln(p.out, "-- the tables are up to date")
				}
				return err
			})
		},
	})
	return cmd
}

func (p *program) replay() *cobra.Command {
	var when span
	var kinds []string
	var books, asJSON bool
	var pace float64
	cmd := &cobra.Command{
		Use: "replay [SYMBOL…]", Short: "Print archived records, one JSON object a line, as they were or faster",
		Long: `Replay prints the records of the archive in order of time, in the form that they have on NATS. Without
symbols it takes those of the setting symbols. At the end it prints on standard error how many there were, and how the
books that they make compare with the stored snapshots and tickers.`,
		Example: `  marketprism replay BTCUSDT --from -1h --data ./data > hour.ndjson
  marketprism replay BTCUSDT --from -10m --pace 1 --kinds trade --clickhouse ch:9000`,
		RunE: func(cmd *cobra.Command, args []string) error {
			instruments, err := p.instruments(p.symbolsOr(args))
			if err = errors.Join(err, when.check()); err != nil {
				return err
			}
			query := chstore.ReplayQuery{Instruments: instruments, From: when.from.Time, To: when.to.Time}
			for _, name := range kinds {
				if err := oneOf("--kinds", name, kindNames()); err != nil {
					return err
				}
				kind, err := marketprism.ParseKind(name)
				if err != nil {
					return err
				}
				query.Kinds = append(query.Kinds, kind)
			}
			if !(pace >= 0) || math.IsInf(pace, 1) {
				return wantValue("--pace", pace, "a number, 0 or more")
			}
			if books && when.from.IsZero() {
				return wantValue("--from", "", "a moment, at which --books begins")
			}
			return p.withStore(cmd.Context(), func(store *chstore.Store) error {
				return p.replayInto(cmd.Context(), store, query, chstore.ReplayConfig{Speed: pace, Books: books}, asJSON)
			})
		},
	}
	when.flags(cmd)
	cmd.Flags().StringSliceVar(&kinds, "kinds", nil, strings.Join(kindNames(), ", ")+"; empty means all")
	cmd.Flags().Float64Var(&pace, "pace", 0, "seconds of the archive in a second: 1 is as it was; 0 as fast as possible")
	cmd.Flags().BoolVar(&books, "books", false, "begin each symbol with its book")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the summary as JSON, too")
	return cmd
}

// kindNames returns the names of the kinds of records.
func kindNames() (names []string) {
	for _, kind := range marketprism.Kinds() {
		names = append(names, kind.String())
	}
	return names
}

func (p *program) symbolsOr(args []string) []string {
	if len(args) > 0 {
		return args
	}
	return p.settings.Config.Symbols
}

// A replayed is what a replay has printed.
type replayed struct {
	Records int       `json:"records"`
	First   time.Time `json:"first"` // of the records' times
	Last    time.Time `json:"last"`
	Seconds float64   `json:"seconds"` // that it took
	compare.Total
}

func (r *replayed) String() string {
	if r.Records == 0 {
		return "no records"
	}
	return fmt.Sprintf("%d records from %s to %s in %.1fs: %s", r.Records, r.First.UTC().Format(time.RFC3339), r.Last.UTC().Format(time.RFC3339), r.Seconds, r.Total.String())
}

// replayInto prints records, and at the end what they were on standard error. The bar shows their time if the range has both
// ends.
func (p *program) replayInto(ctx context.Context, store *chstore.Store, q chstore.ReplayQuery, cfg chstore.ReplayConfig, asJSON bool) error {
	lines := bufio.NewWriterSize(p.out, 1<<20)
	safe := plain.JSON(lines)
	progress := p.spinner("replaying")
	end := q.To
	if end.IsZero() {
		end = time.Now()
	}
	if !q.From.IsZero() {
		progress = p.newBar("replaying", int64(end.Sub(q.From)/time.Millisecond))
	}
	var line []byte
	var books compare.Records
	var sum replayed
	begun := time.Now()
	err := store.Replay(ctx, q, cfg, sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		for i := range recs {
			var err error
			if line, err = natsbus.AppendRecord(line[:0], &recs[i]); err != nil {
				return err
			}
			if _, err = safe.Write(append(line, '\n')); err != nil {
				return err
			}
			if err = books.Add(&recs[i]); err != nil {
				return err
			}
		}
		if sum.Records == 0 {
			sum.First = recs[0].Time()
		}
		sum.Records += len(recs)
		sum.Last = recs[len(recs)-1].Time()
		if !q.From.IsZero() {
			progress.set(int64(sum.Last.Sub(q.From) / time.Millisecond))
		}
		if cfg.Speed > 0 {
			return lines.Flush() // for a viewer
		}
		return nil
	}))
	progress.end()
	if err = errors.Join(err, lines.Flush()); err != nil {
		return err
	}
	sum.Seconds, sum.Total = time.Since(begun).Seconds(), books.Total()
	if asJSON {
		return json.NewEncoder(p.errOut).Encode(&sum)
	}
	_, err = fmt.Fprintln(p.errOut, &sum)
	return err
}
