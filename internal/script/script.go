// Package script runs test scripts: text files of commands, each followed by the output that it is
// expected to give. The files read as prose with worked examples, and a change of behaviour shows as
// a change of text.
//
// A script is a sequence of paragraphs, parted by blank lines. A paragraph with a line "----" is a
// block: commands above that line, one each, and below it everything they print. Any other paragraph
// is prose. Prose that begins with "# " is a heading.
package script

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const separator = "----"

// A Func carries out one command and returns what it prints, lines that end in "\n" or nothing.
// An error means that the command itself is wrong, and ends the test.
type Func func(command string) (output string, err error)

// Run carries out the script at path and fails the test where the outputs are not those of the file.
// If update is set it rewrites the file instead.
func Run(t *testing.T, path string, update bool, run Func) {
	t.Helper()
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Process(string(want), run)
	if err != nil {
		t.Fatalf("%s:%v", path, err)
	}
	if got == string(want) {
		return
	}
	if !update {
		t.Fatalf("%s:%s\n(-update rewrites the file)", path, difference(got, string(want)))
	}
	if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Process carries out the commands of a script and returns the script with the outputs they gave. An
// error begins with the line it is about.
func Process(script string, run Func) (string, error) {
	var out strings.Builder
	var commands []string // of the paragraph so far
	inOutput := false     // below a separator, where the old output is left out
	for i, line := range strings.SplitAfter(script, "\n") {
		text := strings.TrimRight(line, "\r\n")
		switch {
		case text == "":
			commands, inOutput = nil, false
		case inOutput:
			continue
		case text == separator:
			out.WriteString(separator + "\n")
			for n, command := range commands {
				output, err := run(command)
				if err != nil {
					return "", fmt.Errorf("%d: %s: %w", i-len(commands)+n+1, command, err)
				}
				out.WriteString(output)
			}
			inOutput = true
			continue
		default:
			commands = append(commands, text)
		}
		out.WriteString(line)
	}
	return out.String(), nil
}

// Headings returns the headings of a script that have a block below them, without the "# ".
func Headings(script string) []string {
	var headings []string
	pending := ""
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\r\n")
		if title, ok := strings.CutPrefix(line, "# "); ok {
			pending = title
		}
		if line == separator && pending != "" {
			headings = append(headings, pending)
			pending = ""
		}
	}
	return headings
}

// difference shows the first paragraph in which two scripts differ, and its line.
func difference(got, want string) string {
	g, w := strings.Split(got, "\n\n"), strings.Split(want, "\n\n")
	line := 1
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("%d: the output changed\n--- got\n%s\n--- want\n%s", line, g[i], w[i])
		}
		line += strings.Count(w[i], "\n") + 2
	}
	return fmt.Sprintf("%d: the output changed", line)
}
