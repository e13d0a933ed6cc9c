package marketprism_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// exceptions are the breaches that stay, as "package rule subject" with the reason. A failure prints
// its key.
var exceptions = map[string]string{
	"binance fields DepthConfig": "a list of independent settings; programs set the few they need",
	"binance fields Stats":       "a list of counters, which a monitor reads by name",
	"binance fields counters":    "the same counters while they are counted, one atomic each",
}

// A breach is one place that breaks a rule.
type breach struct {
	subject string // a file, a type or an identifier
	text    string
}

var houseRules = []struct {
	name  string
	check func(*housePackage) []breach
}{
	{"doc", checkDoc},
	{"init", checkInit},
	{"methods", checkMethods},
	{"files", checkFiles},
	{"tests", checkTestFiles},
	{"fields", checkFields},
	{"exported", checkExported},
	{"arrays", checkArrays},
	{"arrows", checkArrows},
	{"shutdown", checkShutdown},
	{"identifiers", checkIdentifiers},
	{"words", checkWords},
}

// TestHouse checks the rules of this repository, each described at its function. To run one of them:
// go test -run TestHouse/methods .
func TestHouse(t *testing.T) {
	packages := loadHouse(t)
	used := make(map[string]bool)
	ran := 0
	for _, rule := range houseRules {
		t.Run(rule.name, func(t *testing.T) {
			ran++
			for _, pkg := range packages {
				for _, b := range rule.check(pkg) {
					key := pkg.name + " " + rule.name + " " + b.subject
					used[key] = true
					if exceptions[key] == "" {
						t.Errorf("%s [%s]", b.text, key)
					}
				}
			}
		})
	}
	if ran < len(houseRules) {
		return
	}
	for key := range exceptions {
		if !used[key] {
			t.Errorf("%q is no longer needed in exceptions", key)
		}
	}
}

// A housePackage is a package of this module, type-checked without its tests.
type housePackage struct {
	name  string // path below the module, "." for the root
	fset  *token.FileSet
	files []*houseFile // without tests
	tests []*houseFile
	docs  []*houseFile // Markdown files of the folder; their syntax is nil
	types *types.Package
	info  *types.Info
}

type houseFile struct {
	name   string // base name
	path   string // below the module
	text   string
	lines  int
	syntax *ast.File
}

// stem is the name of a file without extension.
func (f *houseFile) stem() string { return strings.TrimSuffix(f.name, ".go") }

// file returns the file of the package that holds pos, or nil.
func (p *housePackage) file(pos token.Pos) *houseFile {
	for _, f := range p.files {
		if f.syntax.FileStart <= pos && pos < f.syntax.FileEnd {
			return f
		}
	}
	return nil
}

// goFiles are all Go files of the package, tests included.
func (p *housePackage) goFiles() []*houseFile { return slices.Concat(p.files, p.tests) }

// A houseImporter type-checks the packages of the module when they are first imported, and takes others from the build cache.
type houseImporter struct {
	t        *testing.T
	packages map[string]*housePackage // of the module, by import path
	others   types.Importer
}

func (i *houseImporter) Import(path string) (*types.Package, error) {
	p := i.packages[path]
	if p == nil {
		return i.others.Import(path)
	}
	if p.types == nil {
		p.check(i.t, path, i)
	}
	return p.types, nil
}

// loadHouse parses every package of the module, tests included, and type-checks it without its tests.
func loadHouse(t *testing.T) (packages []*housePackage) {
	t.Helper()
	imports := &houseImporter{t: t, packages: make(map[string]*housePackage)}
	fset := token.NewFileSet()
	export := []string{"list", "-deps", "-export", "-f", "{{.ImportPath}}|{{.Export}}"}
	for line := range strings.Lines(goTool(t, "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")) {
		fields := strings.Fields(line)
		pkg := &housePackage{name: below(fields[0]), fset: fset}
		pkg.read(t, pkg.name)
		packages = append(packages, pkg)
		imports.packages[fields[0]] = pkg
		export = append(export, slices.DeleteFunc(fields[1:], isOurs)...)
	}
	exports := make(map[string]string)
	for line := range strings.Lines(goTool(t, export...)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "|")
		exports[path] = file
	}
	imports.others = importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for path := range imports.packages {
		if _, err := imports.Import(path); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(packages, func(a, b *housePackage) int { return strings.Compare(a.name, b.name) })
	return packages
}

// read parses the files of a folder.
func (p *housePackage) read(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		f := &houseFile{name: entry.Name(), path: filepath.Join(dir, entry.Name())}
		ext := filepath.Ext(f.name)
		if entry.IsDir() || ext != ".go" && ext != ".md" {
			continue
		}
		f.text = readFile(t, f.path)
		f.lines = strings.Count(f.text, "\n")
		if ext == ".md" {
			p.docs = append(p.docs, f)
			continue
		}
		if f.syntax, err = parser.ParseFile(p.fset, f.path, f.text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f.name, "_test.go") {
			p.tests = append(p.tests, f)
		} else {
			p.files = append(p.files, f)
		}
	}
}

// check type-checks the files of the package that this platform builds.
func (p *housePackage) check(t *testing.T, path string, imports types.Importer) {
	t.Helper()
	var built []*ast.File
	for _, f := range p.files {
		if match, err := matchesPlatform(f); err != nil {
			t.Fatal(err)
		} else if match {
			built = append(built, f.syntax)
		}
	}
	p.info = &types.Info{Defs: make(map[*ast.Ident]types.Object), Uses: make(map[*ast.Ident]types.Object)}
	var err error
	if p.types, err = (&types.Config{Importer: imports}).Check(path, p.fset, built, p.info); err != nil {
		t.Fatal(err)
	}
}
