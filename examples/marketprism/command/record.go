package command

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/examples/marketprism/pipeline"
)

func (p *program) record() *cobra.Command {
	return &cobra.Command{
		Use: "record DIR", Short: "Write what the exchange sends to files, as it comes", Args: exactArgs("DIR"),
		Long: `Record follows symbols and writes each frame and each answer of the exchange to a line of a file, which
"run --source recording" plays back. It needs neither NATS nor ClickHouse.`,
		Example: `  marketprism record ./recordings --source live --symbols BTCUSDT --for 10m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.recordTo(cmd.Context(), args[0])
		},
	}
}

func (p *program) recordTo(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cfg := p.settings.Config
	if cfg.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.For)
		defer cancel()
	}
	recorder, err := binance.NewRecorder(binance.RecorderConfig{Dir: dir, Name: cfg.Market})
	if err != nil {
		return err
	}
	// The recorder ends after what it records, so that nothing is cut off.
	recording, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	written := make(chan error, 1)
	go func() { written <- recorder.Run(recording) }()

	err = pipeline.Follow(ctx, cfg, recorder)
	stop()
	if failed := <-written; !errors.Is(failed, context.Canceled) {
		err = errors.Join(err, failed)
	}
	stats := recorder.Stats()
	fmt.Fprintf(p.out, "%+v\n", stats)
	if err == nil && stats.Lost > 0 {
		err = fmt.Errorf("%d lines were not recorded since the disk was too slow", stats.Lost)
	}
	return err
}
