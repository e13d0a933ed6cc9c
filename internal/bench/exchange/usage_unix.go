//go:build unix

package main

import (
	"syscall"
	"time"
)

// usage is the CPU time of this process so far.
func usage() cpu {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err) // only of a wrong argument
	}
	return cpu{time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())}
}
