//go:build unix

package cpu

import (
	"syscall"
	"time"
)

// Used is the CPU time of this process so far, without that of children that run.
func Used() Time {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err) // only of a wrong argument
	}
	return Time{time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())}
}
