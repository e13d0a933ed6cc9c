package monitoring

import (
	"bytes"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/logging"
	"github.com/marketprism/marketprism/internal/hook/hooktest"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink"
)

// logged returns lines as the program writes them: one of every hook of the library that is logged.
func logged(t *testing.T) (lines []map[string]any) {
	t.Helper()
	var out bytes.Buffer
	log := slog.New(logging.NewHandler(&out, slog.LevelDebug)).With("service", "marketprism", "instance", "a", "component", "test")
	hooktest.CallAll(binance.LogHooks(log))
	hooktest.CallAll(chstore.LogHooks(log))
	hooktest.CallAll(natsbus.LogHooks(log.With("stream", "MD_DEPTH", "consumer", "archive")))
	hooktest.CallAll(sink.LogHooks(log))
	for line := range bytes.Lines(out.Bytes()) {
		var keys map[string]any
		need(t, yaml.Unmarshal(line, &keys)) // JSON is YAML
		lines = append(lines, keys)
	}
	if len(lines) < 40 {
		t.Fatalf("only %d lines", len(lines))
	}
	return lines
}

// Alloy and the collector read the keys that the program writes, of the type that they take them for, and every key
// that Alloy makes searchable occurs.
func TestLogKeys(t *testing.T) {
	lines := logged(t)
	occurs := make(map[string]bool)
	for _, line := range lines {
		for key := range line {
			occurs[key] = true
		}
		for _, key := range []string{"time", "level", "msg", "service", "component"} {
			if text, ok := line[key].(string); !ok || text == "" {
				t.Errorf("%s is %v: %v", key, line[key], line)
			}
		}
		if at, ok := line["time"].(string); ok {
			if _, err := time.Parse(time.RFC3339Nano, at); err != nil || !strings.HasSuffix(at, "Z") {
				t.Errorf("time %q: %v", at, err)
			}
		}
		if !slices.Contains([]string{"DEBUG", "INFO", "WARN", "ERROR"}, line["level"].(string)) {
			t.Errorf("level %v", line["level"])
		}
	}

	alloy, err := os.ReadFile("alloy/config.alloy")
	need(t, err)
	names := func(block string) []string {
		match := regexp.MustCompile(`(?s)` + block + `\s*\{\s*\w+ = \{([^}]*)\}`).FindSubmatch(alloy)
		if match == nil {
			t.Fatalf("config.alloy has no %s", block)
		}
		var all []string
		for _, m := range regexp.MustCompile(`(\w+)\s*=\s*""`).FindAllSubmatch(match[1], -1) {
			all = append(all, string(m[1]))
		}
		return all
	}
	read, searchable := names(`stage\.json`), names(`stage\.structured_metadata`)
	if len(searchable) < 8 {
		t.Errorf("searchable are %v only", searchable)
	}
	for _, key := range read {
		if !occurs[key] {
			t.Errorf("config.alloy reads %q, which no line has", key)
		}
	}
	for _, key := range searchable {
		if !slices.Contains(read, key) {
			t.Errorf("config.alloy makes %q searchable and does not read it", key)
		}
	}

	text, err := os.ReadFile("otelcol/otelcol.yaml")
	need(t, err)
	var collector struct {
		Receivers struct {
			Filelog struct {
				Operators []struct {
					Timestamp struct {
						From   string `yaml:"parse_from"`
						Layout string
					}
					Severity struct {
						From string `yaml:"parse_from"`
					}
				}
			}
		}
	}
	need(t, yaml.Unmarshal(text, &collector))
	parser := collector.Receivers.Filelog.Operators[0]
	if parser.Timestamp.From != "attributes.time" || parser.Severity.From != "attributes.level" {
		t.Errorf("otelcol.yaml reads %+v", parser)
	}
	for _, line := range lines {
		if _, err := time.Parse(parser.Timestamp.Layout, line["time"].(string)); err != nil {
			t.Error(err)
		}
	}
}
