package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
)

// withStore opens the archive for use.
func (p *program) withStore(ctx context.Context, use func(*chstore.Store) error) error {
	cfg := p.settings.Config
	archive, err := engines.OpenArchive(ctx, cfg.ClickHouse, cfg.Data, cfg.Store())
	if errors.Is(err, engines.ErrNoArchive) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	return errors.Join(use(archive.Store), archive.Close())
}

// instruments are symbols of the configured market.
func (p *program) instruments(symbols []string) []marketprism.Instrument {
	var all []marketprism.Instrument
	for _, symbol := range symbols {
		all = append(all, marketprism.Instrument{
			Exchange: marketprism.Binance, Market: marketprism.Market(p.settings.Config.Market), Symbol: strings.ToUpper(symbol),
		})
	}
	return all
}

// checkSteps is the length of the bar of a check.
const checkSteps = 1000

func (p *program) check() *cobra.Command {
	var when span
	var asJSON, skipBooks bool
	cmd := &cobra.Command{
		Use: "check [SYMBOL…]", Short: "Look for holes, duplicates and broken books in the archive",
		Long: `Check looks for missing updates and trades, duplicates, crossed books, silence, snapshots that contradict
the updates before them, and tables that are not as they should be. It exits with 3 if it finds any.`,
		Example: `  marketprism check --clickhouse ch:9000 --from -24h
  marketprism check --clickhouse ch:9000 --json BTCUSDT   # for cron`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withStore(cmd.Context(), func(store *chstore.Store) error {
				bar := p.newBar("checking", checkSteps)
				report, err := store.Check(cmd.Context(), chstore.CheckQuery{
					Instruments: p.instruments(args), From: when.from.Time, To: when.to.Time, SkipBooks: skipBooks,
					Progress: func(done float64) { bar.set(int64(done * checkSteps)) },
				})
				bar.end()
				if err != nil {
					return err
				}
				if asJSON {
					encoder := json.NewEncoder(p.out)
					encoder.SetIndent("", "  ")
					err = encoder.Encode(report)
				} else {
					_, err = fmt.Fprint(p.out, report.String())
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
			if at.IsZero() {
				return usageError{errors.New("book-at needs --at, such as --at -5m")}
			}
			return p.withStore(cmd.Context(), func(store *chstore.Store) error {
				inst := p.instruments(args)[0]
				book, err := store.BookAt(cmd.Context(), inst, at.Time)
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

func (p *program) migrate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "migrate", Short: "Create or change the tables", Args: exactArgs(),
		Long:    "Migrate brings the tables to this version. It can be run again at any time; run and archive do it at their start.",
		Example: "  marketprism migrate plan --clickhouse ch:9000   # what it would do\n  marketprism migrate --clickhouse ch:9000",
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
					fmt.Fprintf(p.out, "%s;\n\n", strings.TrimSpace(s))
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
