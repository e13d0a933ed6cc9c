package marketprism_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReadmeProgramCompiles builds the program of the README as it is pasted.
func TestReadmeProgramCompiles(t *testing.T) {
	if n := strings.Count(readFile(t, "README.md"), "\n"); n > 200 {
		t.Errorf("README.md has %d lines, more than 200", n)
	}
	match := regexp.MustCompile("(?s)```go\n(package main\n.*?)```").FindStringSubmatch(readFile(t, "README.md"))
	if match == nil {
		t.Fatal("README.md has no program")
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(match[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "vet", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
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
