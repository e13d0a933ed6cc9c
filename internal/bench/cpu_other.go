//go:build !unix

package bench

// CPUUsed returns 0: the CPU time is not available on this system.
func CPUUsed() CPUTime { return CPUTime{} }
