package marketprism_test

import (
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/marketprism/marketprism"

// A policy says what a package may import, itself or through packages of this module.
type policy struct {
	module []string // packages of this module, by path below it; "." is the root, a trailing "/" a folder
	others []string // packages of other modules, by prefix
}

var (
	allowDecimal   = []string{"github.com/shopspring/decimal"}
	allowWebsocket = append(allowDecimal, "github.com/gorilla/websocket")
	allowNATS      = append(allowDecimal, "github.com/nats-io/nats.go", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/propagation",
		"go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes") // the API of traces, never an SDK
	// Only tests link servers.
	allowNATSServer = append(allowNATS, "github.com/nats-io/nats-server/v2")
	allowFiles      = append(allowDecimal, "github.com/klauspost/compress", "github.com/cespare/xxhash/v2")
	// The Parquet layer of arrow-go alone: its Arrow layer links gRPC.
	allowParquet = append(allowFiles, "github.com/apache/arrow-go/v18/parquet")
	allowStore   = append(allowDecimal, "github.com/ClickHouse/clickhouse-go/v2", "github.com/ClickHouse/ch-go", "go.opentelemetry.io/otel/trace")
	allowEngine  = append(allowStore, "github.com/ebitengine/purego", "github.com/creack/pty", "golang.org/x/sys/unix")
)

// Imports point down only. A package without a line here may not exist, except below examples and
// internal, which other modules cannot import.
var policies = map[string]policy{
	"orderbook":             {nil, allowDecimal},
	".":                     {[]string{"orderbook"}, allowDecimal},
	"binance":               {[]string{".", "orderbook", "internal/"}, allowWebsocket},
	"binance/binancetest":   {[]string{".", "orderbook", "internal/"}, append(allowWebsocket, "github.com/klauspost/compress")},
	"sink":                  {[]string{".", "orderbook", "internal/"}, allowDecimal},
	"sink/sinktest":         {[]string{".", "orderbook", "sink", "internal/"}, allowDecimal},
	"sink/dayfile":          {[]string{".", "orderbook", "sink", "internal/"}, allowFiles},
	"sink/tardis":           {[]string{".", "orderbook", "sink", "sink/dayfile", "internal/"}, allowFiles},
	"sink/hftbacktest":      {[]string{".", "orderbook", "sink", "sink/dayfile", "internal/"}, allowFiles},
	"sink/parquet":          {[]string{".", "orderbook", "sink", "sink/dayfile", "sink/internal/", "internal/"}, allowParquet},
	"sink/nautilus":         {[]string{".", "orderbook", "sink", "sink/dayfile", "sink/internal/", "internal/"}, allowParquet},
	"natsbus/signature":     {nil, nil},
	"natsbus":               {[]string{".", "orderbook", "sink", "natsbus/signature", "natsbus/internal/", "internal/"}, allowNATS},
	"natsbus/natstest":      {[]string{"internal/natsserver"}, allowNATSServer},
	"natsbus/deadletter":    {[]string{".", "orderbook", "sink", "natsbus", "natsbus/signature", "natsbus/internal/", "internal/"}, allowNATS},
	"natsbus/bookfeed":      {[]string{".", "orderbook", "sink", "natsbus", "natsbus/signature", "natsbus/internal/", "internal/"}, allowNATS},
	"natsbus/presence":      {[]string{".", "orderbook", "sink", "natsbus", "natsbus/signature", "natsbus/internal/", "internal/"}, allowNATS},
	"chstore":               {[]string{".", "orderbook", "sink", "internal/"}, allowStore},
	"chstore/chtest":        {[]string{"internal/chserver", "internal/chserver/chtest"}, allowEngine},
	"chstore/chtest/engine": {[]string{"internal/chserver"}, allowEngine},
}

// A listed package is one as go list knows it.
type listed struct {
	imports, testImports []string
}

// listPackages returns the packages of this module by their path below it.
func listPackages(t *testing.T) map[string]listed {
	t.Helper()
	out := goTool(t, "list", "-f", `{{.ImportPath}}|{{join .Imports " "}}|{{join .TestImports " "}} {{join .XTestImports " "}}`, "./...")
	packages := make(map[string]listed)
	for line := range strings.Lines(out) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		if len(fields) == 3 {
			packages[below(fields[0])] = listed{strings.Fields(fields[1]), strings.Fields(fields[2])}
		}
	}
	if len(packages) < len(policies) {
		t.Fatalf("go list names only %d packages:\n%s", len(packages), out)
	}
	return packages
}

func goTool(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// below returns the path below the module: "." for the root, and other modules' paths as they are.
func below(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func isOurs(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// isStandard reports whether an import path is one of the standard library: no dot in its first
// element.
func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

func TestImportPolicy(t *testing.T) {
	packages := listPackages(t)
	for name := range packages {
		if _, ok := policies[name]; !ok && !strings.HasPrefix(name, "examples/") && !strings.Contains("/"+name, "/internal/") {
			t.Errorf("package %s has no import policy", name)
		}
	}
	for name, allowed := range policies {
		checkImports(t, packages, name, name, allowed, make(map[string]bool))
	}
}

// checkImports checks what via imports on behalf of name, and so on down.
func checkImports(t *testing.T, packages map[string]listed, name, via string, allowed policy, seen map[string]bool) {
	t.Helper()
	for _, imported := range packages[via].imports {
		switch {
		case seen[imported] || isStandard(imported):
		case !isOurs(imported):
			if !hasPrefix(imported, allowed.others) {
				t.Errorf("%s imports %s (in %s), which its policy does not allow", name, imported, via)
			}
		case !inModule(below(imported), allowed.module):
			t.Errorf("%s imports %s (in %s), which points sideways or up", name, below(imported), via)
		default:
			seen[imported] = true
			checkImports(t, packages, name, below(imported), allowed, seen)
		}
	}
}

func hasPrefix(importPath string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return importPath == p || strings.HasPrefix(importPath, p+"/")
	})
}

func inModule(name string, allowed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		return name == a || strings.HasSuffix(a, "/") && strings.HasPrefix(name, a)
	})
}

// The order book does no IO: what could do any is not even imported.
func TestOrderbookDoesNoIO(t *testing.T) {
	forbidden := []string{"net", "os", "io", "log", "sync", "context", "runtime"}
	for _, imported := range listPackages(t)["orderbook"].imports {
		if first, _, _ := strings.Cut(imported, "/"); slices.Contains(forbidden, first) {
			t.Errorf("orderbook imports %s", imported)
		}
	}
	for dep := range strings.Lines(goTool(t, "list", "-deps", "./orderbook")) {
		if dep = strings.TrimSpace(dep); dep == "net" || strings.HasPrefix(dep, "net/") {
			t.Errorf("orderbook depends on %s", dep)
		}
	}
}

// What a package's tests import ends up in the go.sum of everyone who imports the package.
func TestTestsImportLittle(t *testing.T) {
	packages := listPackages(t)
	for _, name := range []string{"orderbook", ".", "binance", "binance/binancetest", "sink", "sink/sinktest"} {
		for _, imported := range packages[name].testImports {
			if !isStandard(imported) && !isOurs(imported) && !hasPrefix(imported, policies[name].others) {
				t.Errorf("the tests of %s import %s", name, imported)
			}
		}
	}
}

// TestBotLinksLittle builds a program outside this repository that imports orderbook and binance, and
// looks at the modules that were linked into it.
func TestBotLinksLittle(t *testing.T) {
	dir := outsideModule(t, "example.com/bot", map[string]string{
		"bot.go": "package main\n\nimport (\n\t\"fmt\"\n\n\t\"" + module + "/binance\"\n\t\"" + module + "/orderbook\"\n)\n\n" +
			"func main() { fmt.Println(orderbook.One, binance.NewClient) }\n",
	})
	goOutside(t, dir, "build", "-o", "bot", ".")

	linked := linkedModules(goTool(t, "version", "-m", filepath.Join(dir, "bot")))
	if !slices.Contains(linked, module) || !slices.Contains(linked, "github.com/gorilla/websocket") {
		t.Fatalf("the bot links only %v", linked)
	}
	for _, m := range linked {
		if m != module && !hasPrefix(m, allowWebsocket) {
			t.Errorf("a bot that imports orderbook and binance links %s", m)
		}
	}
}

// outsideModule makes a module outside this repository that uses it, of files by their paths, and returns its folder.
func outsideModule(t *testing.T, name string, files map[string]string) (dir string) {
	t.Helper()
	repo, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	all := map[string]string{
		// With the versions of this module, so that the build need not look for any.
		"go.mod": strings.Replace(readFile(t, "go.mod"), "module "+module, "module "+name, 1) +
			"\nrequire " + module + " v0.0.0\n\nreplace " + module + " => " + filepath.ToSlash(repo) + "\n",
		"go.sum": readFile(t, "go.sum"),
	}
	maps.Copy(all, files)
	for path, text := range all {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// goOutside runs the go command in a module outside this repository, offline, and returns its output.
func goOutside(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -mod=mod -buildvcs=false", "GOPROXY=off", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "GOPROXY=off") && os.Getenv("CI") != "true" {
			t.Skipf("the module cache does not hold all that is needed offline:\n%s", out)
		}
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// linkedModules picks the dependencies out of what go version -m prints: tab, "dep", tab, path.
func linkedModules(out string) (modules []string) {
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "dep" {
			modules = append(modules, path.Clean(fields[1]))
		}
	}
	return modules
}
