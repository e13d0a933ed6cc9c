package chserver

import (
	"os"
	"syscall"
)

// hostEnv is set in a process that is to become a ClickHouse server, and names the library.
const hostEnv = "MARKETPRISM_CHSERVER_HOST"

// Main must be the first call of main or TestMain in a program that calls Start. Start runs the program a second
// time; there Main becomes the ClickHouse server and never returns. In the program itself it returns
// at once.
func Main() {
	library, isHost := os.LookupEnv(hostEnv)
	if !isHost {
		return
	}
	// Not os.Exit: the race detector's runtime sleeps a second there, and ClickHouse has already
	// shut down cleanly when serve returns.
	syscall.Exit(serve(library, os.Args))
}
