package marketprism_test

import (
	"bufio"
	"context"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
)

// newcomer returns the files of a module outside this repository: each program of README.md as it is pasted, and a bot with
// its tests.
func newcomer(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{
		"bot/bot.go":      readFile(t, "testdata/newcomer/bot.go"),
		"bot/bot_test.go": readFile(t, "testdata/newcomer/bot_test.go"),
	}
	for i, match := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readFile(t, "README.md"), -1) {
		files[fmt.Sprintf("readme%d/main.go", i)] = match[1]
	}
	return files
}

// TestReadmeProgramsCompile builds each Go block of the README as it is pasted into a module outside this repository. The first
// program has at most twenty lines.
func TestReadmeProgramsCompile(t *testing.T) {
	if n := strings.Count(readFile(t, "README.md"), "\n"); n > 200 {
		t.Errorf("README.md has %d lines, more than 200", n)
	}
	files := newcomer(t)
	if n := strings.Count(files["readme0/main.go"], "\n"); n == 0 || n > 20 {
		t.Errorf("the first program of README.md has %d lines, want at most 20", n)
	}
	for name, text := range files {
		if formatted, err := format.Source([]byte(text)); err != nil || string(formatted) != text {
			t.Errorf("%s is not formatted: %v", name, err)
		}
	}
	goOutside(t, outsideModule(t, "example.com/newcomer", files), "vet", "./...")
}

// TestReadmeProgramSaysWhatItWaitsFor runs the first program of the README where the exchange refuses connections, and beside
// a fake exchange: it says why there is no price, or prints one, every second. Before, it said nothing, without an end.
func TestReadmeProgramSaysWhatItWaitsFor(t *testing.T) {
	short.Skip(t)
	program := newcomer(t)["readme0/main.go"]
	if strings.Count(program, "NewDepthSyncer(nil,") != 1 {
		t.Fatal("the program is for the real exchange no more")
	}
	dir := outsideModule(t, "example.com/newcomer", map[string]string{
		"main.go": strings.Replace(program, "NewDepthSyncer(nil,", "NewDepthSyncer(client(),", 1),
		"client.go": "package main\n\nimport (\n\t\"log\"\n\t\"os\"\n\n\t\"" + module + "/binance\"\n)\n\nfunc client() *binance.Client {\n" +
			"\tc, err := binance.NewClient(binance.Config{Endpoints: binance.Endpoints{REST: \"http://\" + os.Args[1], Stream: \"ws://\" + os.Args[1]}})\n" +
			"\tif err != nil {\n\t\tlog.Fatal(err)\n\t}\n\treturn c\n}\n",
	})
	goOutside(t, dir, "build", "-o", "bot", ".")
	exchange, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT")})
	if err != nil {
		t.Fatal(err)
	}
	defer exchange.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for address, want := range map[string]*regexp.Regexp{
		closed.Addr().String(): regexp.MustCompile(`\{0 0\} \{0 0\} binance: book of BTCUSDT is not synced: .*connection refused`),
		strings.TrimPrefix(exchange.Endpoints().REST, "http://"): regexp.MustCompile(`\{(99|100)\d{3}(\.\d+)? [\d.]+\} \{(99|100)\d{3}(\.\d+)? [\d.]+\} <nil>`),
	} {
		requireLine(t, want, filepath.Join(dir, "bot"), address)
	}
}

// requireLine runs a program until it has printed a line that matches, one of the first twenty.
func requireLine(t *testing.T, want *regexp.Regexp, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, name, args...)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}()
	lines := bufio.NewReader(out)
	var all strings.Builder
	for range 20 {
		line, err := lines.ReadString('\n')
		all.WriteString(line)
		switch {
		case err != nil:
			t.Fatalf("it ended with %v after\n%s", err, all.String())
		case want.MatchString(line):
			return
		}
	}
	t.Errorf("no line matches %s:\n%s", want, all.String())
}

// TestProgramsAreShort counts the lines of two programs as gofmt writes them, without package clause and imports: from an
// exchange to the bus takes at most twenty, from the bus to ClickHouse at most thirty.
func TestProgramsAreShort(t *testing.T) {
	for program, want := range map[string]map[string]int{
		"collect": {"main": 7, "collect": 16},
		"archive": {"main": 7, "archive": 22},
	} {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, filepath.Join("examples", program, "main.go"), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		lines := make(map[string]int)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				lines[f.Name.Name] = files.Position(f.End()).Line - files.Position(f.Pos()).Line + 1
			}
		}
		if !maps.Equal(lines, want) {
			t.Errorf("%s has lines %v, want %v", program, lines, want)
		}
	}
}

// TestNewcomer runs the tests of a bot in a module outside this repository, with the fake exchange, a real NATS and a real
// ClickHouse.
func TestNewcomer(t *testing.T) {
	short.Skip(t)
	const library = ".engine/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"
	if path, err := filepath.Abs(library); err == nil && os.Getenv("MARKETPRISM_CHDB_LIB") == "" {
		if _, err := os.Stat(path); err == nil {
			t.Setenv("MARKETPRISM_CHDB_LIB", path) // others have it in the user's cache folder
		}
	}
	out := goOutside(t, outsideModule(t, "example.com/newcomer", newcomer(t)), "test", "-vet=off", "-v", "./bot")
	if !strings.Contains(out, "--- PASS: TestToTheBus") || !strings.Contains(out, ": TestToTheArchive") {
		t.Errorf("a test is missing in\n%s", out)
	}
	if strings.Contains(out, "--- SKIP: TestToTheArchive") {
		t.Skip("without ClickHouse the test of the archive was left out, as it should be")
	}
}

// TestDocumentsNameWhatExists looks up the files, targets and links that the documents at the top name.
func TestDocumentsNameWhatExists(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	file := regexp.MustCompile("`([a-z_0-9./*-]+/[a-zA-Z_0-9.*-]+|[a-z_]+\\.go)`")
	target := regexp.MustCompile("(?m)(?:`|^)make ([a-z-]+)")
	others := []string{"encoding/json", "shopspring/decimal"} // what the benchmarks compare with
	makefile := readFile(t, "Makefile")
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"} {
		text := readFile(t, name)
		for _, match := range append(link.FindAllStringSubmatch(text, -1), file.FindAllStringSubmatch(text, -1)...) {
			if slices.Contains(others, match[1]) {
				continue
			}
			if found, err := filepath.Glob(match[1]); err != nil || found == nil {
				t.Errorf("%s names %s, which does not exist", name, match[1])
			}
		}
		for _, match := range target.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+match[1]+":") {
				t.Errorf("%s names make %s, which does not exist", name, match[1])
			}
		}
	}
}
