package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// options are the command line, checked.
type options struct {
	source    string        // sim, live or recording
	recording string        // file, for the source recording
	symbols   []string      // for sim and live
	duration  time.Duration // how long to collect; 0 means until interrupted or the recording ends
	speed     float64       // of the recording: 1 as recorded, 0 as fast as it is read

	dataDir        string // of the embedded engines; "" means a temporary folder, removed at the end
	natsURL        string // "" means the embedded server
	clickhouseAddr string // "" means the embedded server
	drain          time.Duration
}

const usage = `usage: marketprism [flags]
       marketprism -source recording [flags] FILE

Collects market data, moves it over NATS JetStream into ClickHouse, and at the end rebuilds every
order book from ClickHouse and compares it with the live one. NATS and ClickHouse run embedded unless
an address is given. Ctrl-C ends the collection; what was received is still stored and compared.
`

// parseOptions reads args. Its error is flag.ErrHelp where help was asked for and printed.
func parseOptions(args []string, out io.Writer) (options, error) {
	var opt options
	var symbols string
	fs := flag.NewFlagSet("marketprism", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.Usage = func() {
		fmt.Fprint(out, usage, "\n")
		fs.PrintDefaults()
	}
	fs.StringVar(&opt.source, "source", "sim", "where the data comes from: sim (a simulated exchange), live (Binance spot), recording (FILE)")
	fs.StringVar(&symbols, "symbols", "BTCUSDT,ETHUSDT,BNBUSDT,SOLUSDT,XRPUSDT", "spot symbols, separated by commas; a recording has its own")
	fs.DurationVar(&opt.duration, "for", 20*time.Second, "how long to collect; 0 means until Ctrl-C")
	fs.Float64Var(&opt.speed, "speed", 1, "speed of a recording: 2 is twice as fast, 0 as fast as it can be read")
	fs.StringVar(&opt.dataDir, "data", "", "folder of the embedded engines, kept; empty means a temporary one")
	fs.StringVar(&opt.natsURL, "nats", "", "URL of a NATS server with JetStream, such as nats://127.0.0.1:4222; empty means embedded")
	fs.StringVar(&opt.clickhouseAddr, "clickhouse", "", "host:port or DSN of ClickHouse's native protocol; empty means that of CLICKHOUSE_DSN, else embedded")
	fs.DurationVar(&opt.drain, "drain", 30*time.Second, "how long the records under way may take to be stored at the end")
	if err := fs.Parse(args); err != nil {
		return options{}, err
	}
	for symbol := range strings.SplitSeq(symbols, ",") {
		if symbol = strings.TrimSpace(symbol); symbol != "" {
			opt.symbols = append(opt.symbols, symbol)
		}
	}
	if opt.clickhouseAddr == "" {
		opt.clickhouseAddr = os.Getenv("CLICKHOUSE_DSN") // not the flag's default, which -help would show with its password
	}
	opt.recording = fs.Arg(0)
	return opt, opt.validate(fs.NArg())
}

func (o *options) validate(files int) error {
	switch {
	case o.source != "sim" && o.source != "live" && o.source != "recording":
		return fmt.Errorf("-source %q is none of sim, live, recording", o.source)
	case o.source == "recording" && files != 1:
		return errors.New("-source recording takes one FILE")
	case o.source != "recording" && files != 0:
		return fmt.Errorf("-source %s takes no file, got %q", o.source, o.recording)
	case o.source != "recording" && len(o.symbols) == 0:
		return errors.New("-symbols names no symbol")
	case o.duration < 0 || o.drain <= 0 || o.speed < 0:
		return errors.New("-for and -speed must not be negative, -drain must be positive")
	}
	return nil
}
