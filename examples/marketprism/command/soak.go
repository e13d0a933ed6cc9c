package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/examples/marketprism/pipeline"
)

// soakFor is how long a soak measures unless --for says otherwise.
const soakFor = 10 * time.Minute

// What the bus keeps in a soak: more than is written in that time.
const (
	soakBusAge   = 5 * time.Minute
	soakBusBytes = 4 << 30
)

// soakRate is changes a second of each symbol, of which 1,300 make about 10,000 records a second.
const soakRate = 7.25

func (p *program) soak() *cobra.Command {
	var count int
	cmd := &cobra.Command{
		Use: "soak", Short: "Measure the whole pipeline at the load of a whole exchange", Args: exactArgs(),
		Long: `Soak follows many symbols of a simulated exchange, which runs in a process of its own, and stores them. From
when all books are synced it measures, for ten minutes or --for: rates, gaps, memory, goroutines, and the
time from an exchange's event to where it can be read in ClickHouse. It exits with 1 if there was a gap, or
memory or goroutines grew. --sim-rate sets the load; the exchange's limits make the start take a minute.`,
		Example: "  marketprism soak --for 3m --count 300 --sim-rate 10",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := p.settings.Config
			if p.settings.Origin("for") == config.FromDefault {
				cfg.For = soakFor
			}
			if p.settings.Origin("bus-age") == config.FromDefault {
				cfg.BusAge = soakBusAge
			}
			if p.settings.Origin("bus-bytes") == config.FromDefault {
				cfg.BusBytes = soakBusBytes
			}
			if count < 1 || cfg.For == 0 {
				return usageError{errors.New("soak wants a --count and a --for above 0")}
			}
			if cfg.SimRate == 0 {
				cfg.SimRate = soakRate
			}
			cfg.Symbols = nil
			for i := range count {
				cfg.Symbols = append(cfg.Symbols, fmt.Sprintf("S%04dUSDT", i))
			}
			return p.soakWith(cmd.Context(), cfg)
		},
	}
	cmd.Flags().IntVar(&count, "count", 1300, "symbols to follow")
	return cmd
}

func (p *program) soakWith(ctx context.Context, cfg config.Config) error {
	exchange, err := p.startExchange(ctx, &cfg)
	if err != nil {
		return err
	}
	role, err := pipeline.New("marketprism", Version, cfg, p.out, p.errOut)
	if err == nil {
		err = role.Soak(ctx)
	}
	_ = exchange.Process.Signal(syscall.SIGTERM) // it has ended already after Ctrl-C
	return errors.Join(err, exchange.Wait())
}

// startExchange starts this program as an exchange, and points cfg at it.
func (p *program) startExchange(ctx context.Context, cfg *config.Config) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "exchange", "--attached", "--source", config.Sim,
		"--symbols", strings.Join(cfg.Symbols, ","), "--sim-rate", fmt.Sprint(cfg.SimRate), "--market", cfg.Market)
	cmd.Stderr = p.errOut
	_, err = cmd.StdinPipe() // which ends with this process, however that ends
	if err != nil {
		return nil, err
	}
	lines, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(lines).ReadString('\n')
	if err == nil {
		_, err = fmt.Sscanf(line, "--source live --rest-url %s --stream-url %s", &cfg.RESTURL, &cfg.StreamURL)
	}
	if err != nil {
		_ = cmd.Process.Kill() // it said something else
		return nil, errors.Join(fmt.Errorf("the exchange did not start: %w", err), cmd.Wait())
	}
	cfg.Source = config.Live
	return cmd, nil
}
