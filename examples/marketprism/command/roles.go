package command

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/examples/marketprism/pipeline"
)

func (p *program) run() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Collect, store and verify in one process", Args: exactArgs(),
		Long: `Run collects market data, moves it over NATS JetStream into ClickHouse, and at the end rebuilds every
order book from ClickHouse and compares it with the live one. NATS and ClickHouse run embedded unless an
address is given. Ctrl-C ends the collection; what was received is still stored and compared.`,
		Example: `  marketprism run                                       # simulated, for 20 s
  marketprism run --source live --symbols BTCUSDT --for 0
  marketprism run --source recording --recording FILE --speed 0 --for 0
  marketprism run --data ./data                         # keep the archive`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.role(cmd.Context(), "marketprism", (*pipeline.Pipeline).Run)
		},
	}
}

func (p *program) collect() *cobra.Command {
	return &cobra.Command{
		Use: "collect", Short: "Publish what an exchange sends to NATS", Args: exactArgs(),
		Long: `Collect follows the exchange and publishes to NATS until it is told to end, by SIGTERM or Ctrl-C; what was
received is then still published, for the time that --drain allows. Two collectors of the same symbols give
one copy of each event. While NATS is away, records go to a queue on disk below --data.`,
		Example: `  marketprism collect --nats nats://bus:4222 --source live --all-trading --data /var/lib/marketprism
  marketprism collect --nats nats://bus:4222 --source live --market usdm --instance futures-1`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.needNATS(); err != nil {
				return err
			}
			return p.role(cmd.Context(), "collector", (*pipeline.Pipeline).Collect)
		},
	}
}

func (p *program) archive() *cobra.Command {
	return &cobra.Command{
		Use: "archive", Short: "Store what is on NATS in ClickHouse", Args: exactArgs(),
		Long: `Archive stores what is on NATS in ClickHouse until it is told to end, by SIGTERM or Ctrl-C; what it has in
hand is then still stored, for the time that --drain allows. A message is acknowledged when it is stored.
What can never be stored becomes a dead letter: see marketprism dlq. Run one archiver at a time.`,
		Example: `  marketprism archive --nats nats://bus:4222 --clickhouse clickhouse://user:password@ch:9000`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.needNATS(); err != nil {
				return err
			}
			return p.role(cmd.Context(), "archiver", (*pipeline.Pipeline).Archive)
		},
	}
}

// role runs a role. How long to collect has a default for run alone: services run until they are told
// to end.
func (p *program) role(ctx context.Context, name string, run func(*pipeline.Pipeline, context.Context) error) error {
	cfg := p.settings.Config
	if name != "marketprism" && p.settings.Origin("for") == config.FromDefault {
		cfg.For = 0
	}
	role, err := pipeline.New(name, Version, cfg, p.out, p.errOut)
	if err != nil {
		return err
	}
	return run(role, ctx)
}

// needNATS is for commands that have no NATS of their own.
func (p *program) needNATS() error {
	if p.settings.Config.NATS == "" {
		return usageError{engines.ErrNoBus}
	}
	return nil
}

func (p *program) exchange() *cobra.Command {
	attached := false
	cmd := &cobra.Command{
		Use: "exchange", Short: "Run the simulated exchange by itself, for several processes to follow", Args: exactArgs(),
		Example: `  marketprism exchange --symbols BTCUSDT,ETHUSDT
  marketprism collect --source live --rest-url http://127.0.0.1:PORT --stream-url ws://127.0.0.1:PORT …`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			if attached {
				go func() {
					_, _ = io.Copy(io.Discard, cmd.InOrStdin()) // an error ends it as well
					stop()
				}()
			}
			exchange, err := pipeline.Simulate(p.settings.Config)
			if err != nil {
				return usageError{err}
			}
			fmt.Fprintf(p.out, "--source live --rest-url %s --stream-url %s\n", exchange.RESTURL(), exchange.StreamURL())
			err = exchange.Run(ctx)
			if ctx.Err() != nil {
				err = nil // told to end
			}
			return errors.Join(err, exchange.Close())
		},
	}
	cmd.Flags().BoolVar(&attached, "attached", false, "end when standard input does, as it does with the process that started this one")
	return cmd
}
