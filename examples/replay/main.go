// Replay runs recordings of exchange traffic through the library's decoder and sync core and prints,
// for each symbol, how the book ended and how often it agreed with the exchange's own best prices.
//
//	go run ./examples/replay recording.ndjson.gz
//	go run ./examples/replay -market usdm recording.ndjson.gz
//
// The output is one JSON object, symbol → summary. The exit status is 1 if any symbol had a gap or a
// bookTicker that its book contradicts, and 2 if a recording cannot be read.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/marketprism/marketprism"
)

func main() {
	market := flag.String("market", string(marketprism.Spot), "market of the recordings: spot, usdm or coinm")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: replay [-market spot|usdm|coinm] FILE…")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}

	r, err := newReplay(marketprism.Market(*market))
	for _, file := range flag.Args() {
		if err == nil {
			err = r.file(file)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(2)
	}

	summaries := r.summaries()
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", " ")
	if err := enc.Encode(summaries); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(2)
	}
	for _, s := range summaries {
		if s.Gaps > 0 || s.BookTickersEqual != s.BookTickersAtBook {
			os.Exit(1)
		}
	}
}
