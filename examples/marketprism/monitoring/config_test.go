package monitoring

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestPromtoolConfig(t *testing.T) {
	promtool := tool(t, "promtool")
	mustRun(t, promtool, "check", "config", "prometheus/prometheus.debian.yml")
}

// Alerts reach the receivers for their severity.
func TestAlertmanagerRoutes(t *testing.T) {
	amtool := tool(t, "amtool")
	const config = "alertmanager/alertmanager.yml"
	mustRun(t, amtool, "check-config", config)
	for _, c := range []struct {
		receiver string
		labels   []string
	}{
		{"page", []string{"alertname=ExchangeConnectionDown", "severity=critical"}},
		{"default", []string{"alertname=SymbolOutOfSync", "severity=warning"}},
		{"deadman", []string{"alertname=Watchdog", "severity=none"}},
		{"default", []string{"alertname=SomethingNew"}},
	} {
		args := append([]string{"config", "routes", "test", "--config.file=" + config, "--verify.receivers=" + c.receiver}, c.labels...)
		mustRun(t, amtool, args...)
	}
}

// Inhibition names alerts: one that is renamed must not be forgotten there.
func TestInhibitionNamesAlerts(t *testing.T) {
	text, err := os.ReadFile("alertmanager/alertmanager.yml")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, a := range Alerts() {
		names[a.Name] = true
	}
	quoted := regexp.MustCompile(`_matchers: .*alertname=~?"([^"]*)"`).FindAllStringSubmatch(string(text), -1)
	if len(quoted) < 10 {
		t.Fatalf("only %d matchers found", len(quoted))
	}
	for _, m := range quoted {
		pattern := regexp.MustCompile("^(?:" + m[1] + ")$")
		for alternative := range strings.SplitSeq(m[1], "|") {
			one, matched := regexp.MustCompile("^(?:"+alternative+")$"), false
			for name := range names {
				matched = matched || one.MatchString(name) && pattern.MatchString(name)
			}
			if !matched {
				t.Errorf("no alert is called %s", alternative)
			}
		}
	}
}

// Every file that is not made by this package is at least YAML.
func TestYAML(t *testing.T) {
	files, err := filepath.Glob("../*/*/*.y*ml")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"../deploy/*.yaml", "*/*/*/*.yml"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	if len(files) < 8 {
		t.Fatalf("only %d files found", len(files))
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var content any
		if err := yaml.Unmarshal(text, &content); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The compose file names only what is there, publishes on loopback only, and pins every image.
func TestCompose(t *testing.T) {
	text, err := os.ReadFile("../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Image    string
			Volumes  []string
			Ports    []string
			Security []string `yaml:"security_opt"`
			Cap      []string `yaml:"cap_drop"`
		}
		Volumes map[string]any
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Services) != 9 {
		t.Errorf("%d services", len(file.Services))
	}
	for name, s := range file.Services {
		if s.Image != "" && (!strings.Contains(s.Image, ":") || strings.HasSuffix(s.Image, ":latest")) {
			t.Errorf("%s: image %s is not pinned", name, s.Image)
		}
		if name != "clickhouse" && (len(s.Security) == 0 || len(s.Cap) == 0) { // its entry point changes users
			t.Errorf("%s keeps its capabilities", name)
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond loopback", name, port)
			}
		}
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, named := file.Volumes[source]; named || strings.HasPrefix(source, "/") {
				continue
			}
			if _, err := os.Stat(filepath.Join("../deploy", source)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// systemd-analyze verify ends well in spite of unknown keys, so each line that it prints counts; it
// wants the programs to exist, which get a stand-in.
func TestUnits(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	units, err := filepath.Glob("../deploy/systemd/*.service")
	if err != nil || len(units) < 5 {
		t.Fatalf("%d units, %v", len(units), err)
	}
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), filepath.Base(unit))
		stood := regexp.MustCompile(`(?m)^ExecStart=\S+`).ReplaceAll(text, []byte("ExecStart=/bin/true"))
		if err := os.WriteFile(copied, stood, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run(t, analyze, "verify", copied); err != nil || strings.TrimSpace(out) != "" {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
		out := mustRun(t, analyze, "security", "--offline=true", "--threshold=20", copied)
		t.Log(strings.TrimSpace(out[strings.LastIndex(out, "→"):]))
	}
}
