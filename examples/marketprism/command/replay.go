package command

import (
	"bufio"
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink"
)

func (p *program) replay() *cobra.Command {
	var when span
	var kinds []string
	var books bool
	var pace float64
	cmd := &cobra.Command{
		Use: "replay [SYMBOL…]", Short: "Print archived records, one JSON object a line, as they were or faster",
		Long: `Replay prints the records of the archive in order of time, in the form that they have on NATS. Without
symbols it takes those of the setting symbols.`,
		Example: `  marketprism replay BTCUSDT --from -1h --data ./data > hour.ndjson
  marketprism replay BTCUSDT --from -10m --pace 1 --kinds trade --clickhouse ch:9000`,
		RunE: func(cmd *cobra.Command, args []string) error {
			query := chstore.ReplayQuery{Instruments: p.instruments(p.symbolsOr(args)), From: when.from.Time, To: when.to.Time}
			for _, name := range kinds {
				kind, err := marketprism.ParseKind(name)
				if err != nil {
					return usageError{err}
				}
				query.Kinds = append(query.Kinds, kind)
			}
			if pace < 0 {
				return usageError{errors.New("--pace must not be negative")}
			}
			return p.withStore(cmd.Context(), func(store *chstore.Store) error {
				return p.replayInto(cmd.Context(), store, query, chstore.ReplayConfig{Speed: pace, Books: books})
			})
		},
	}
	when.flags(cmd)
	cmd.Flags().StringSliceVar(&kinds, "kinds", nil, "depth, snap, gap, trade, aggtrade, bbo; empty means all")
	cmd.Flags().Float64Var(&pace, "pace", 0, "seconds of the archive in a second: 1 is as it was; 0 as fast as possible")
	cmd.Flags().BoolVar(&books, "books", false, "begin each symbol with its book")
	return cmd
}

func (p *program) symbolsOr(args []string) []string {
	if len(args) > 0 {
		return args
	}
	return p.settings.Config.Symbols
}

// replayInto prints records. The bar goes by their time where the range has two ends.
func (p *program) replayInto(ctx context.Context, store *chstore.Store, q chstore.ReplayQuery, cfg chstore.ReplayConfig) error {
	lines := bufio.NewWriterSize(p.out, 1<<20)
	progress := p.spinner("replaying")
	end := q.To
	if end.IsZero() {
		end = time.Now()
	}
	if !q.From.IsZero() {
		progress = p.newBar("replaying", int64(end.Sub(q.From)/time.Millisecond))
	}
	var line []byte
	err := store.Replay(ctx, q, cfg, sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		for i := range recs {
			var err error
			if line, err = natsbus.AppendRecord(line[:0], &recs[i]); err != nil {
				return err
			}
			if _, err = lines.Write(append(line, '\n')); err != nil {
				return err
			}
		}
		if !q.From.IsZero() {
			progress.set(int64(recs[len(recs)-1].Time().Sub(q.From) / time.Millisecond))
		}
		if cfg.Speed > 0 {
			return lines.Flush() // someone watches
		}
		return nil
	}))
	progress.end()
	return errors.Join(err, lines.Flush())
}
