//go:build unix

package bench

import (
	"syscall"
	"time"
)

// CPUUsed returns the CPU time of this process so far, without that of its children.
func CPUUsed() CPUTime {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err) // cannot fail with valid arguments
	}
	return CPUTime{time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())}
}
