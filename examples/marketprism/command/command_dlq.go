package command

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/examples/plain"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
)

func (p *program) deadLetters() *cobra.Command {
	parent := &cobra.Command{
		Use: "dlq", Short: "Manage dead letters: messages that could not be stored", Args: exactArgs(),
		Long: `A message that can never be stored, or is none, is moved to the stream of dead letters with the cause in its
headers. List them, repair the cause, and put them back with redrive.`,
		Example: `  marketprism dlq stats --nats nats://bus:4222
  marketprism dlq list --reason refused --from -1h --nats nats://bus:4222
  marketprism dlq show 17 --nats nats://bus:4222
  marketprism dlq redrive --dry-run --subject 'md.binance.spot.>' --nats nats://bus:4222`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	parent.AddCommand(p.dlqList(), p.dlqShow(), p.dlqRedrive(), p.dlqPurge(), p.dlqStats())
	return parent
}

// withLetters opens the bus for use.
func (p *program) withLetters(ctx context.Context, use func(*deadletter.Queue) error) error {
	bus, err := p.findBus(ctx)
	if err != nil {
		return err
	}
	defer bus.Close()
	return use(deadletter.New(bus.JS, natsbus.DeadLettersStream("")))
}

// A letterFilter holds the flags that select letters, in addition to their numbers.
type letterFilter struct {
	when            span
	subject, stream string
	reasons         []string
}

func (f *letterFilter) flags(cmd *cobra.Command) {
	f.when.flags(cmd)
	cmd.Flags().StringVar(&f.subject, "subject", "", "of the message, with wildcards, such as 'md.binance.*.depth.>'")
	cmd.Flags().StringVar(&f.stream, "stream", "", "of the message, such as MD_DEPTH")
	cmd.Flags().StringSliceVar(&f.reasons, "reason", nil, strings.Join(reasons(), ", "))
}

// reasons are the names of why a message is a dead letter.
func reasons() []string {
	return []string{"decode", "refused", "exhausted", "max_deliveries", "terminated"}
}

// subjects are those of NATS, with wildcards.
var subjects = regexp.MustCompile(`^[^\s.]+(\.[^\s.]+)*$`)

func (f *letterFilter) filter(args []string) (deadletter.Filter, error) {
	filter := deadletter.Filter{Subject: f.subject, Stream: f.stream, From: f.when.from.Time, To: f.when.to.Time}
	if f.subject != "" && !subjects.MatchString(f.subject) {
		return filter, wantValue("--subject", f.subject, "a subject of NATS, such as 'md.binance.*.depth.>'")
	}
	for _, reason := range f.reasons {
		if err := oneOf("--reason", reason, reasons()); err != nil {
			return filter, err
		}
		filter.Reasons = append(filter.Reasons, natsbus.DeadReason(reason))
	}
	for _, arg := range args {
		sequence, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || sequence == 0 {
			return filter, wantValue("NUMBER", arg, "the number of a letter, as marketprism dlq list shows it")
		}
		filter.Sequences = append(filter.Sequences, sequence)
	}
	return filter, f.when.check()
}

func (p *program) dlqList() *cobra.Command {
	var choice letterFilter
	cmd := &cobra.Command{
		Use: "list [NUMBER…]", Short: "List dead letters",
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := choice.filter(args)
			if err != nil {
				return err
			}
			return p.withLetters(cmd.Context(), func(letters *deadletter.Queue) error {
				table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "NUMBER\tFAILED\tREASON\tSUBJECT\tREDRIVES\tERROR")
				for l, err := range letters.List(cmd.Context(), filter) {
					if err != nil {
						return err
					}
					fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%d\t%.80q\n", l.Sequence, l.FailedAt.Format(time.RFC3339), plain.Cell(string(l.Reason)), plain.Cell(l.Subject), l.Redrives, l.Error)
				}
				return table.Flush()
			})
		},
	}
	choice.flags(cmd)
	return cmd
}

func (p *program) dlqShow() *cobra.Command {
	return &cobra.Command{
		Use: "show NUMBER", Short: "Show one dead letter with its headers and body", Args: exactArgs("NUMBER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := (&letterFilter{}).filter(args)
			if err != nil {
				return err
			}
			return p.withLetters(cmd.Context(), func(letters *deadletter.Queue) error {
				l, err := letters.Get(cmd.Context(), filter.Sequences[0])
				if errors.Is(err, deadletter.ErrNotFound) {
					return fmt.Errorf("%w %d; marketprism dlq list shows the existing ones", err, filter.Sequences[0])
				}
				if err != nil {
					return err
				}
				table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
				for _, row := range []struct {
					name  string
					value any
				}{
					{"number", l.Sequence}, {"subject", l.Subject}, {"stream", fmt.Sprintf("%s at %d", l.Stream, l.StreamSequence)}, {"consumer", l.Consumer},
					{"reason", l.Reason}, {"stage", l.Stage}, {"error", l.Error}, {"deliveries", l.Deliveries}, {"attempts", l.Attempts},
					{"redrives", l.Redrives}, {"stored", l.StoredAt}, {"first failed", l.FirstFailedAt}, {"failed", l.FailedAt},
				} {
					fmt.Fprintf(table, "%s\t%s\n", row.name, plain.Cell(fmt.Sprint(row.value)))
				}
				for name, values := range l.Header {
					fmt.Fprintf(table, "header %s\t%q\n", plain.Cell(name), values)
				}
				if l.BodySize == len(l.Body) {
					fmt.Fprintf(table, "body\t%q\n", l.Body)
				} else {
					fmt.Fprintf(table, "body\t%d bytes, too many for a letter; they are in %s at %d\n", l.BodySize, plain.Cell(l.Stream), l.StreamSequence)
				}
				return table.Flush()
			})
		},
	}
}

func (p *program) dlqStats() *cobra.Command {
	return &cobra.Command{
		Use: "stats", Short: "Count dead letters by reason and subject", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withLetters(cmd.Context(), func(letters *deadletter.Queue) error {
				s, err := letters.Stats(cmd.Context())
				if err != nil {
					return err
				}
				fmt.Fprintf(p.out, "%s, %d bytes\n", plural(s.Letters, "letter"), s.Bytes)
				if s.Letters > 0 {
					fmt.Fprintf(p.out, "oldest %s, newest %s\n", s.Oldest.Format(time.RFC3339), s.Newest.Format(time.RFC3339))
				}
				table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
				for reason, n := range s.ByReason {
					fmt.Fprintf(table, "reason\t%s\t%d\n", plain.Cell(string(reason)), n)
				}
				for subject, n := range s.BySubject {
					fmt.Fprintf(table, "subject\t%s\t%d\n", plain.Cell(subject), n)
				}
				return table.Flush()
			})
		},
	}
}

func (p *program) dlqRedrive() *cobra.Command {
	var choice letterFilter
	var cfg deadletter.RedriveConfig
	cmd := &cobra.Command{
		Use: "redrive [NUMBER…]", Short: "Return dead letters to the archiver; all of them unless some are selected",
		Long: `Redrive puts letters back for the archiver alone, through a stream of its own. A letter leaves the dead
letters when the bus has it. One that fails again is a letter again, and how often is bounded.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := choice.filter(args)
			if err != nil {
				return err
			}
			switch {
			case cfg.Max < 0:
				return wantValue("--max", cfg.Max, "0, which means no limit, or more")
			case cfg.Rate < -1 || cfg.Rate == 0:
				return wantValue("--rate", cfg.Rate, "1 or more, or -1, which means no limit")
			case cfg.MaxRedrives < -1 || cfg.MaxRedrives == 0:
				return wantValue("--max-redrives", cfg.MaxRedrives, "1 or more, or -1, which means no limit")
			}
			return p.withLetters(cmd.Context(), func(letters *deadletter.Queue) error {
				stats, err := letters.Stats(cmd.Context())
				if err != nil {
					return err
				}
				progress, moved := p.newBar("re-driving", int64(stats.Letters)), int64(0)
				cfg.Moved = func(*deadletter.Letter) { moved++; progress.set(moved) }
				report, err := letters.Redrive(cmd.Context(), filter, cfg)
				progress.end()
				verb := "put back"
				if cfg.DryRun {
					verb = "would be put back"
				}
				fmt.Fprintf(p.out, "%s %s, %d left since they were put back too often, %d left since their origin is not known, %d left since they are too large, "+
					"%d left since their message was gone, %d left since no stream takes them\n",
					plural(report.Redriven, "letter"), verb, report.Exhausted, report.Foreign, report.TooLarge, report.Gone, report.Stranded)
				return err
			})
		},
	}
	choice.flags(cmd)
	cmd.Flags().BoolVar(&cfg.DryRun, "dry-run", false, "move nothing, say what would be")
	cmd.Flags().IntVar(&cfg.Rate, "rate", 100, "letters a second; -1 means no limit")
	cmd.Flags().IntVar(&cfg.Max, "max", 0, "letters at most; 0 means no limit")
	cmd.Flags().IntVar(&cfg.MaxRedrives, "max-redrives", 3, "how often a letter may be put back in all; -1 means no limit")
	return cmd
}

func (p *program) dlqPurge() *cobra.Command {
	var choice letterFilter
	var yes bool
	cmd := &cobra.Command{
		Use: "purge [NUMBER…]", Short: "Delete dead letters; all of them unless some are selected",
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := choice.filter(args)
			if err != nil {
				return err
			}
			return p.withLetters(cmd.Context(), func(letters *deadletter.Queue) error {
				chosen := 0
				for _, err := range letters.List(cmd.Context(), filter) {
					if err != nil {
						return err
					}
					chosen++
				}
				if err := p.confirm(cmd, yes, "delete "+plural(chosen, "dead letter")+" for good"); err != nil {
					return err
				}
				n, err := letters.Purge(cmd.Context(), filter)
				fmt.Fprintf(p.out, "%s deleted\n", plural(n, "letter"))
				return err
			})
		},
	}
	choice.flags(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
