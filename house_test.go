package marketprism_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The habits of this repository that can be checked: files one can read at a sitting, packages that
// say what they are for and are named after it, nothing that runs before main.
func TestHouse(t *testing.T) {
	const maxLines = 500
	forbidden := []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "lib", "base"}
	documented := make(map[string]bool) // by folder
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (name == "testdata" || name == "node_modules" || len(name) > 1 && name[0] == '.'):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, file, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		if n := fset.File(parsed.FileStart).LineCount(); n > maxLines {
			t.Errorf("%s has %d lines, more than %d", file, n, maxLines)
		}
		if slices.Contains(forbidden, parsed.Name.Name) {
			t.Errorf("%s: package %s is named after nothing", file, parsed.Name.Name)
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has a func init", file)
			}
		}
		dir := filepath.Dir(file)
		documented[dir] = documented[dir] || len(parsed.Doc.Text()) > 0
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(documented) < 5 {
		t.Errorf("only %d packages found", len(documented))
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package in %s has no doc comment", dir)
		}
	}
}
