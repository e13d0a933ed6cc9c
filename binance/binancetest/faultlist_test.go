package binancetest_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/binance/binancetest"
)

// TestEveryFaultIsDocumented: the package documentation lists forty faults in order, every name it links to
// exists, every method for a fault is in the list, and RunChaos knows no other numbers.
func TestEveryFaultIsDocumented(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	must(t, err)
	doc := file.Doc.Text()
	items := regexp.MustCompile(`(?m)^ +- F(\d+) (.*)$`).FindAllStringSubmatch(doc, -1)
	if len(items) != 40 {
		t.Fatalf("%d faults are listed, want 40", len(items))
	}
	for i, item := range items {
		if n, err := strconv.Atoi(item[1]); err != nil || n != i+1 {
			t.Errorf("fault %d of the list is F%s", i+1, item[1])
		}
	}
	linked := make(map[string]bool)
	for _, link := range regexp.MustCompile(`\[(Server|Config|Symbol)\.(\w+)\]`).FindAllStringSubmatch(doc, -1) {
		linked[link[2]] = true
		exists := false
		switch link[1] {
		case "Server":
			_, exists = reflect.TypeFor[*binancetest.Server]().MethodByName(link[2])
		case "Config":
			_, exists = reflect.TypeFor[binancetest.Config]().FieldByName(link[2])
		case "Symbol":
			_, exists = reflect.TypeFor[binancetest.Symbol]().FieldByName(link[2])
		}
		if !exists {
			t.Errorf("the documentation names %s, which does not exist", link[0])
		}
	}
	plain := []string{ // methods that need no mention there
		"Close", "Connections", "Listed", "Played", "PlaybackErr", "Tick",
	}
	for m := range reflect.TypeFor[*binancetest.Server]().Methods() {
		if !linked[m.Name] && !slices.Contains(plain, m.Name) {
			t.Errorf("Server.%s is not in the package documentation", m.Name)
		}
	}
	tests := testComments(t)
	for n := 1; n <= 40; n++ {
		if !regexp.MustCompile(fmt.Sprintf(`\bF%d\b`, n)).MatchString(tests) {
			t.Errorf("no test says that it shows F%d", n)
		}
	}
	for _, name := range binancetest.ChaosFaults() {
		if !slices.ContainsFunc(items, func(item []string) bool { return fmt.Sprint("F", item[1]) == name }) {
			t.Errorf("chaos knows %s, the documentation does not", name)
		}
	}
}

// testComments returns the comments above the tests of this package.
func testComments(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	must(t, err)
	var all strings.Builder
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		must(t, err)
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
				all.WriteString(f.Doc.Text())
			}
		}
	}
	return all.String()
}
