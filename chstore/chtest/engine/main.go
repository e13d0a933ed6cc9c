// Command engine installs the ClickHouse that package chtest runs, for this user, with npm: about 180 MB to fetch and 570 MB
// on disk, in the user's cache folder. Its version is pinned by its hash. A second call finds it installed and does nothing.
//
//	go run github.com/marketprism/marketprism/chstore/chtest/engine
//
// It prints the path of the library. There is an engine for linux/amd64 with glibc only.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/marketprism/marketprism/internal/chserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	before, _ := chserver.Find() // an error means that there is none
	engine, err := chserver.Install(ctx, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if before != engine {
		fmt.Fprintln(os.Stderr, "engine: go test may have kept the result of tests that were skipped without it: run them once with -count=1")
	}
	fmt.Println(engine.Library)
}
