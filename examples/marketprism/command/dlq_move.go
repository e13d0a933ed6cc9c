package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/natsbus/deadletter"
)

func (p *program) dlqRedrive() *cobra.Command {
	var choice letterFilter
	var cfg deadletter.RedriveConfig
	cmd := &cobra.Command{
		Use: "redrive [NUMBER…]", Short: "Put dead letters back to be stored; all of them unless some are chosen",
		Long: `Redrive puts letters back for the archiver alone, through a stream of its own. A letter leaves the dead
letters when the bus has it. One that fails again is a letter again, and how often is bounded.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := choice.filter(args)
			if err != nil {
				return err
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
				fmt.Fprintf(p.out, "%s %s, %d left since they were put back too often, %d left since their origin is not known, %d left since they are too large\n",
					plural(report.Redriven, "letter"), verb, report.Exhausted, report.Foreign, report.TooLarge)
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
		Use: "purge [NUMBER…]", Short: "Delete dead letters for good; all of them unless some are chosen",
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
