package command

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/presence"
)

func (p *program) status() *cobra.Command {
	var listen time.Duration
	cmd := &cobra.Command{
		Use: "status", Short: "Show who is alive, and what the streams hold", Args: exactArgs(),
		Long:    `Status listens for heartbeats for a while, two of them unless told otherwise, and then asks NATS for its streams.`,
		Example: "  marketprism status --nats nats://bus:4222",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.needNATS(); err != nil {
				return err
			}
			bus, err := engines.OpenBus(cmd.Context(), p.settings.Config.NATS, nil)
			if err != nil {
				return err
			}
			defer bus.Close()
			return errors.Join(p.printPeers(cmd.Context(), bus, listen), p.printStreams(cmd.Context(), bus))
		},
	}
	cmd.Flags().DurationVar(&listen, "listen", 6*time.Second, "how long to listen; services beat every 5 s")
	return cmd
}

func (p *program) printPeers(ctx context.Context, bus *engines.Bus, listen time.Duration) error {
	watch, err := presence.NewWatch(bus.Conn, presence.WatchConfig{})
	if err != nil {
		return err
	}
	listening, cancel := context.WithTimeout(ctx, listen)
	defer cancel()
	progress := p.spinner("listening")
	err = watch.Run(listening)
	progress.end()
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SERVICE\tINSTANCE\tVERSION\tSTATE\tLAG\tUP")
	for _, peer := range watch.Peers() {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%v\n", peer.Service, peer.Instance, peer.Version, peer.State, peer.Lag, peer.Time.Sub(peer.Started).Round(time.Second))
	}
	if len(watch.Peers()) == 0 {
		fmt.Fprintf(table, "nobody in %v\n", listen)
	}
	return table.Flush()
}

func (p *program) printStreams(ctx context.Context, bus *engines.Bus) error {
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nSTREAM\tMESSAGES\tBYTES\tOLDEST")
	for _, name := range []string{natsbus.BooksStream(""), natsbus.TradesStream(""), natsbus.DeadLettersStream(""), natsbus.RedriveStream("")} {
		s, err := natsbus.ReadStreamStats(ctx, bus.JS, name)
		if err != nil {
			return err
		}
		oldest := "-"
		if !s.Oldest.IsZero() {
			oldest = s.Oldest.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\n", name, s.Messages, s.Bytes, oldest)
	}
	return table.Flush()
}
