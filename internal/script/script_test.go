package script

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const sample = `This script shows an echo.
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

func echo(command string) (string, error) {
	name, rest, _ := strings.Cut(command, " ")
	switch name {
	case "echo":
		return rest + "\n", nil
	case "quiet":
		return "", nil
	}
	return "", errors.New("unknown command")
}

func TestProcessKeepsAScriptThatIsRight(t *testing.T) {
	got, err := Process(sample, echo)
	if err != nil || got != sample {
		t.Errorf("Process: %v\n%s", err, got)
	}
}

func TestProcessReplacesOutput(t *testing.T) {
	wrong := strings.NewReplacer("\na\n\n", "\nold\nlines\n\n", "\nb\nc\n\n", "\n\n").Replace(sample)
	if wrong == sample {
		t.Fatal("the sample did not change")
	}
	got, err := Process(wrong, echo)
	if err != nil || got != sample {
		t.Errorf("Process: %v\n%s", err, got)
	}
	if d := difference(got, wrong); !strings.HasPrefix(d, "6: ") || !strings.Contains(d, "old") {
		t.Errorf("difference = %s", d)
	}
}

func TestProcessNamesTheLineOfAnError(t *testing.T) {
	_, err := Process("prose\n\necho a\nwrong\necho b\n----\n", echo)
	if err == nil || !strings.HasPrefix(err.Error(), "4: wrong: ") {
		t.Errorf("err = %v", err)
	}
}

func TestHeadingsNeedABlock(t *testing.T) {
	want := []string{"first: one command", "second: two commands, no output"}
	if got := Headings(sample); !slices.Equal(got, want) {
		t.Errorf("Headings = %q", got)
	}
}

func TestRunUpdates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "script.txt")
	if err := os.WriteFile(path, []byte("echo a\n----\nold"), 0o644); err != nil {
		t.Fatal(err)
	}
	Run(t, path, true, echo)
	Run(t, path, false, echo)
	if got, err := os.ReadFile(path); err != nil || string(got) != "echo a\n----\na\n" {
		t.Errorf("the file is %q, %v", got, err)
	}
}
