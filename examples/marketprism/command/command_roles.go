package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/examples/marketprism/pipeline"
	"github.com/marketprism/marketprism/examples/plain"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/presence"
)

const runName = "run"

func (p *program) run() *cobra.Command {
	return &cobra.Command{
		Use: runName, Short: "Collect, store and verify in one process", Args: exactArgs(),
		Long: `Run collects market data, moves it over NATS JetStream into ClickHouse, and at the end rebuilds every
order book from ClickHouse and compares it with the live one. NATS and ClickHouse run embedded unless an
address is given. On a terminal it collects until Enter, unless --for is given. Ctrl-C ends the collection:
what was received is still stored and compared. Only warnings are logged, unless --log-level is given.`,
		Example: `  marketprism run                                       # simulated
  marketprism run --source live --symbols BTCUSDT --for 0
  marketprism run --source recording --recording FILE --speed 0 --for 0
  marketprism run --data ./data                         # keep the archive`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			enter := func(*pipeline.Pipeline) {}
			if p.settings.Origin("for") == config.FromDefault && p.interactive(cmd) {
				p.settings.Config.For = 0
				enter = func(role *pipeline.Pipeline) { role.EndWhen("Enter", entered(cmd.InOrStdin())) }
			}
			return p.role(cmd.Context(), "marketprism", func(role *pipeline.Pipeline, ctx context.Context) error {
				enter(role)
				return role.Run(ctx)
			})
		},
	}
}

// interactive reports whether a person sees the output and can answer.
func (p *program) interactive(cmd *cobra.Command) bool {
	in, ok := cmd.InOrStdin().(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(p.out.Fd()))
}

func (p *program) collect() *cobra.Command {
	return &cobra.Command{
		Use: "collect", Short: "Publish the data of an exchange to NATS", Args: exactArgs(), Annotations: untilStopped(),
		Long: `Collect collects from the exchange and publishes to NATS until SIGTERM or Ctrl-C; then it publishes the
received records, within --drain. Two collectors of the same symbols publish one copy of each event. While
NATS is unreachable, records go to a queue on disk below --data.`,
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
		Use: "archive", Short: "Store the data from NATS in ClickHouse", Args: exactArgs(), Annotations: untilStopped(),
		Long: `Archive stores the data from NATS in ClickHouse until SIGTERM or Ctrl-C; then it stores the delivered
batches, within --drain. A message is acknowledged when it is stored. A message that can never be stored
becomes a dead letter: see marketprism dlq. Run one archiver at a time.`,
		Example: `  marketprism archive --nats nats://bus:4222 --config marketprism.yaml   # with clickhouse: and a password in its address`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.needNATS(); err != nil {
				return err
			}
			return p.role(cmd.Context(), "archiver", (*pipeline.Pipeline).Archive)
		},
	}
}

// untilStopped is the default of the setting for of a service.
func untilStopped() map[string]string { return map[string]string{"for": "0s"} }

func (p *program) role(ctx context.Context, name string, run func(*pipeline.Pipeline, context.Context) error) error {
	if err := checkPlaces(p.settings); err != nil {
		return err
	}
	if err := p.checkUser(name); err != nil {
		return err
	}
	role, err := pipeline.New(name, Version, p.settings.Config, p.out, p.errOut)
	if err != nil {
		return err
	}
	defer untilSecond(ctx, role, p.settings.Config.Drain, p.errOut)()
	return run(role, ctx)
}

// needNATS returns an error if no NATS is configured.
func (p *program) needNATS() error {
	if p.settings.Config.NATS == "" {
		return usageError{engines.ErrNoBus}
	}
	return nil
}

// findBus connects to the configured NATS, or to the one of a run on the configured folder.
func (p *program) findBus(ctx context.Context) (*engines.Bus, error) {
	url, folder, access := p.settings.Config.NATS, p.settings.Config.Data, p.settings.Config.Access
	if url == "" && folder != "" {
		access = config.Access{} // the address has all that is needed
		if url = engines.EmbeddedURL(folder); url == "" {
			return nil, wantValue(p.settings.Place("data"), folder, "the folder of a run that has not ended, or --nats nats://HOST:4222")
		}
	}
	if url == "" {
		return nil, usageError{engines.ErrNoBus}
	}
	options, err := engines.BusOptions(access)
	if err != nil {
		return nil, err
	}
	return engines.OpenBus(ctx, url, nil, options...)
}

func (p *program) exchange() *cobra.Command {
	attached := false
	cmd := &cobra.Command{
		Use: "exchange", Short: "Run the simulated exchange alone, for several processes", Args: exactArgs(),
		Example: `  marketprism exchange --symbols BTCUSDT,ETHUSDT
  marketprism collect --source live --rest-url http://127.0.0.1:PORT --stream-url ws://127.0.0.1:PORT …`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			if attached {
				go func() {
					_, _ = io.Copy(io.Discard, cmd.InOrStdin()) // an error ends it too
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
				err = nil
			}
			return errors.Join(err, exchange.Close())
		},
	}
	cmd.Flags().BoolVar(&attached, "attached", false, "end when standard input does, as it does with the process that started this one")
	return cmd
}

// soakFor is the default time of a soak.
const soakFor = 10 * time.Minute

// The bounds of the bus in a soak: more than is written in that time.
const (
	soakBusAge   = 5 * time.Minute
	soakBusBytes = 4 << 30
)

// soakRate is the number of changes a second of each symbol; 1,300 symbols make about 10,000 records a second.
const soakRate = 7.25

func (p *program) soak() *cobra.Command {
	var count int
	cmd := &cobra.Command{
		Use: "soak", Short: "Measure the whole pipeline at the load of a whole exchange", Args: exactArgs(),
		Long: `Soak follows many symbols of a simulated exchange, which runs in a process of its own, and stores them. From
when all books are synced it measures, for the time of --for: rates, gaps, memory, goroutines, and the
time from an exchange's event to where it can be read in ClickHouse. It exits with 1 if there was a gap, or
memory or goroutines grew. --sim-rate sets the load; the exchange's limits make the start take a minute.`,
		Example: "  marketprism soak --for 3m --count 300 --sim-rate 10",
		Annotations: map[string]string{
			"for": soakFor.String(), "bus-age": soakBusAge.String(), "bus-bytes": fmt.Sprint(soakBusBytes), "sim-rate": fmt.Sprint(soakRate),
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := p.settings.Config
			if count < 1 {
				return wantValue("--count", count, "1 or more")
			}
			if cfg.For == 0 {
				return wantValue(p.settings.Place("for"), cfg.For, "a duration above 0")
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
	if err := checkPlaces(p.settings); err != nil {
		return err
	}
	exchange, err := p.startExchange(ctx, &cfg)
	if err != nil {
		return err
	}
	role, err := pipeline.New("marketprism", Version, cfg, p.out, p.errOut)
	if err == nil {
		defer untilSecond(ctx, role, p.settings.Config.Drain, p.errOut)()
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
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "exchange", "--attached", "--source", config.Sim, // #nosec G204 -- this program itself
		"--symbols", strings.Join(cfg.Symbols, ","), "--sim-rate", fmt.Sprint(cfg.SimRate), "--market", cfg.Market)
	cmd.Env, cmd.Stderr = withoutSettings(os.Environ()), p.errOut
	_, err = cmd.StdinPipe() // which ends when this process ends for any reason
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
		_ = cmd.Process.Kill() // unexpected output
		return nil, errors.Join(fmt.Errorf("the exchange did not start: %w", err), cmd.Wait())
	}
	return cmd, nil
}

// withoutSettings returns an environment without the variables that settings of this program are read from, since some are
// secrets, and without addresses of proxies, which may have a password.
func withoutSettings(environment []string) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return name == config.ClassicDSN || strings.HasPrefix(name, config.EnvName("")) ||
			strings.HasSuffix(strings.ToUpper(name), "_PROXY")
	})
}

func (p *program) status() *cobra.Command {
	var listen time.Duration
	cmd := &cobra.Command{
		Use: "status", Short: "Show live processes and the contents of the streams", Args: exactArgs(),
		Long:    `Status listens for heartbeats, for the time of --listen, and then reads the streams of NATS.`,
		Example: "  marketprism status --nats nats://bus:4222",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if listen <= 0 {
				return wantValue("--listen", listen, "a duration above 0")
			}
			bus, err := p.findBus(cmd.Context())
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
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SERVICE\tINSTANCE\tVERSION\tSTATE\tLAG\tUP")
	for _, peer := range watch.Peers() {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%v\n", plain.Cell(peer.Service), plain.Cell(peer.Instance), plain.Cell(peer.Version), plain.Cell(peer.State), peer.Lag, peer.Time.Sub(peer.Started).Round(time.Second))
	}
	if len(watch.Peers()) == 0 {
		fmt.Fprintf(table, "no heartbeat in %v\n", listen)
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

func (p *program) record() *cobra.Command {
	return &cobra.Command{
		Use: "record DIR", Short: "Write the exchange's traffic to files", Args: exactArgs("DIR"),
		Long: `Record follows symbols and writes each frame and each answer of the exchange to a line of a file, which
"run --source recording" plays back. It needs neither NATS nor ClickHouse.`,
		Example: `  marketprism record ./recordings --source live --symbols BTCUSDT --for 10m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.recordTo(cmd.Context(), args[0])
		},
	}
}

func (p *program) recordTo(ctx context.Context, dir string) error {
	if err := makeFolder("DIR", dir); err != nil {
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
	// The recorder ends after its source, so that it writes every line.
	recording, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	written := make(chan error, 1)
	go func() { written <- recorder.Run(recording) }()

	err = pipeline.Follow(ctx, cfg, recorder)
	stop()
	err = errors.Join(err, <-written)
	stats := recorder.Stats()
	fmt.Fprintf(p.out, "%+v\n", stats)
	if err == nil && stats.Lost > 0 {
		err = fmt.Errorf("%d lines were not recorded because the disk was too slow", stats.Lost)
	}
	return err
}
