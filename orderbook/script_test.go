package orderbook_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// This file runs the scripts in testdata: text files of commands, each followed by the output that it is
// expected to print. A script is a sequence of paragraphs, separated by blank lines. A paragraph with a
// line "----" is a block: commands above that line, one each, and below it everything that they print. Any
// other paragraph is prose; prose that begins with "# " is a heading.

const separator = "----"

var rewrite = flag.Bool("update", false, "rewrite the outputs in testdata")

// A scriptFunc carries out one command and returns what it prints, lines that end in "\n" or nothing.
// An error means that the command itself is wrong, and ends the test.
type scriptFunc func(command string) (output string, err error)

// runScript carries out the script at path and fails the test if the outputs are not those of the file.
// With -update it rewrites the file instead.
func runScript(t *testing.T, path string, run scriptFunc) {
	t.Helper()
	runScriptFile(t, path, *rewrite, run)
}

func runScriptFile(t *testing.T, path string, update bool, run scriptFunc) {
	t.Helper()
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := processScript(string(want), run)
	if err != nil {
		t.Fatalf("%s:%v", path, err)
	}
	if got == string(want) {
		return
	}
	if !update {
		t.Fatalf("%s:%s\n(-update rewrites the file)", path, scriptDifference(got, string(want)))
	}
	if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
		t.Fatal(err)
	}
}

// processScript carries out the commands of a script and returns the script with the outputs they gave. An
// error begins with the line it is about.
func processScript(script string, run scriptFunc) (string, error) {
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

// scriptHeadings returns the headings of a script that have a block below them, without the "# ".
func scriptHeadings(script string) []string {
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

// scriptDifference shows the first paragraph in which two scripts differ, and its line.
func scriptDifference(got, want string) string {
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

const sampleScript = `This script shows an echo.
A comment of two lines.

# first: one command

echo a
----
a

# second: two commands, no output

echo b
quiet
echo c
----
b
c

# a heading alone

The end.
`

func echoCommand(command string) (string, error) {
	name, rest, _ := strings.Cut(command, " ")
	switch name {
	case "echo":
		return rest + "\n", nil
	case "quiet":
		return "", nil
	}
	return "", errors.New("unknown command")
}

func TestScriptKeepsAScriptThatIsRight(t *testing.T) {
	got, err := processScript(sampleScript, echoCommand)
	if err != nil || got != sampleScript {
		t.Errorf("Process: %v\n%s", err, got)
	}
}

func TestScriptReplacesOutput(t *testing.T) {
	wrong := strings.NewReplacer("\na\n\n", "\nold\nlines\n\n", "\nb\nc\n\n", "\n\n").Replace(sampleScript)
	if wrong == sampleScript {
		t.Fatal("the sampleScript did not change")
	}
	got, err := processScript(wrong, echoCommand)
	if err != nil || got != sampleScript {
		t.Errorf("Process: %v\n%s", err, got)
	}
	if d := scriptDifference(got, wrong); !strings.HasPrefix(d, "6: ") || !strings.Contains(d, "old") {
		t.Errorf("difference = %s", d)
	}
}

func TestScriptNamesTheLineOfAnError(t *testing.T) {
	_, err := processScript("prose\n\necho a\nwrong\necho b\n----\n", echoCommand)
	if err == nil || !strings.HasPrefix(err.Error(), "4: wrong: ") {
		t.Errorf("err = %v", err)
	}
}

func TestScriptHeadingsNeedABlock(t *testing.T) {
	want := []string{"first: one command", "second: two commands, no output"}
	if got := scriptHeadings(sampleScript); !slices.Equal(got, want) {
		t.Errorf("Headings = %q", got)
	}
}

func TestScriptUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "script.txt")
	if err := os.WriteFile(path, []byte("echo a\n----\nold"), 0o644); err != nil {
		t.Fatal(err)
	}
	runScriptFile(t, path, true, echoCommand)
	runScriptFile(t, path, false, echoCommand)
	if got, err := os.ReadFile(path); err != nil || string(got) != "echo a\n----\na\n" {
		t.Errorf("the file is %q, %v", got, err)
	}
}
