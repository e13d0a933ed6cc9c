package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

func printMemory(goroutines int) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Printf("memory      heap %d MB in use, RSS %s\n", m.HeapInuse>>20, resident())
	fmt.Printf("goroutines  %d\n", goroutines)
}

// resident is the memory of this process as Linux counts it.
func resident() string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kb int
			if _, err := fmt.Sscan(value, &kb); err == nil {
				return fmt.Sprintf("%d MB", kb>>10)
			}
		}
	}
	return "unknown"
}
