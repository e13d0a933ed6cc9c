package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/internal/bench"
)

// asPart runs a stage, and the goroutines it starts, under the profile label of a part.
func asPart(part string, run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		pprof.Do(ctx, pprof.Labels(engines.PartLabel, part), func(ctx context.Context) { err = run(ctx) })
		return err
	}
}

// A cpuMeter measures which part of the program, and which child process, uses the CPU between start and stop.
type cpuMeter struct {
	profile  bytes.Buffer
	self     bench.CPUTime
	children map[string]time.Duration
}

func (m *cpuMeter) start() error {
	m.self, m.children = bench.CPUUsed(), childrenCPU(os.Getpid())
	return pprof.StartCPUProfile(&m.profile)
}

// stop returns the times since start.
func (m *cpuMeter) stop() (cpuUse, error) {
	pprof.StopCPUProfile()
	u := cpuUse{self: bench.CPUUsed().Minus(m.self).Total(), children: childrenCPU(os.Getpid())}
	for name := range u.children {
		u.children[name] -= m.children[name]
	}
	var err error
	u.parts, err = partsCPU(&m.profile)
	return u, err
}

// A cpuUse is CPU time by parts of this program, all of it together, and by the names of its child processes.
type cpuUse struct {
	parts    map[string]time.Duration
	self     time.Duration
	children map[string]time.Duration
}

// perRecord returns the time of each part and process divided by a number of records, the largest first.
func (u cpuUse) perRecord(records uint64) string {
	list := func(times map[string]time.Duration) string {
		names := slices.SortedFunc(maps.Keys(times), func(a, b string) int {
			return cmp.Or(cmp.Compare(times[b], times[a]), cmp.Compare(a, b))
		})
		for i, name := range names {
			names[i] = fmt.Sprintf("%s %.1f", name, micros(times[name], records))
		}
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("CPU µs a record: this program %.1f (%s); its children: %s", micros(u.self, records), list(u.parts), list(u.children))
}

func micros(d time.Duration, records uint64) float64 {
	return float64(d) / float64(time.Microsecond) / float64(max(records, 1))
}

// partsCPU sums a CPU profile by parts.
func partsCPU(data *bytes.Buffer) (map[string]time.Duration, error) {
	p, err := profile.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("CPU profile: %w", err)
	}
	parts := make(map[string]time.Duration)
	for _, s := range p.Sample {
		part := unlabelledPart(s)
		if labels := s.Label[engines.PartLabel]; len(labels) > 0 {
			part = labels[0]
		}
		parts[part] += time.Duration(s.Value[len(s.Value)-1]) // nanoseconds
	}
	return parts, nil
}

// unlabelledPart names what a goroutine without the label does. The goroutines of the NATS server's streams and
// consumers have labels of the server's instead.
func unlabelledPart(s *profile.Sample) string {
	for _, location := range s.Location {
		for _, line := range location.Line {
			switch name := line.Function.Name; {
			case name == "runtime.gcBgMarkWorker":
				return "garbage collection"
			case name == "runtime.schedule":
				return "scheduler"
			case strings.HasPrefix(name, "github.com/nats-io/nats-server/"):
				return engines.PartNATSServer
			}
		}
	}
	return "other"
}

// childrenCPU returns the CPU time of the processes below one, by name. It is empty where there is no Linux /proc.
func childrenCPU(parent int) map[string]time.Duration {
	times := make(map[string]time.Duration)
	processes := make(map[int]bench.Process)
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := bench.ReadProcess(pid); ok {
			processes[pid] = p
		}
	}
	for pid, p := range processes {
		above := p.Parent
		for above != parent && above > 1 {
			above = processes[above].Parent
		}
		if above == parent {
			times[commandName(pid)] += p.Used
		}
	}
	return times
}

// commandName returns the program of a process, and its first argument if that is a command of the program.
func commandName(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(string(text), "\x00")
	name := filepath.Base(args[0])
	if len(args) > 1 && args[1] != "" && args[1][0] != '-' {
		name += " " + args[1]
	}
	return name
}
