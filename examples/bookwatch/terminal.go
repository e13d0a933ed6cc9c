package main

import (
	"bytes"
	"io"
	"os"

	"golang.org/x/term"
)

// A terminal shows pictures in place, on a screen of its own, and reads keys.
type terminal struct {
	in, out  *os.File
	before   *term.State // of in; nil if that is no terminal
	coloured bool
	keys     chan key
}

// A key is one that the viewer knows.
type key int

const (
	keyQuit key = iota
	keyNext
	keyPrevious
	keyMore
	keyLess
	keySymbol // and the number of the symbol, from 0, added
)

// The sequences of ECMA-48 and xterm: the alternate screen, the cursor, and erasing.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	eraseLine   = "\x1b[K"
	eraseBelow  = "\x1b[J"
)

// openTerminal takes the terminal over until close. Keys come one at a time, without Enter, if in is a terminal too.
func openTerminal(in, out *os.File, coloured bool) (*terminal, error) {
	t := &terminal{in: in, out: out, coloured: coloured, keys: make(chan key)}
	if term.IsTerminal(int(in.Fd())) {
		var err error
		if t.before, err = term.MakeRaw(int(in.Fd())); err != nil {
			return nil, err
		}
		go t.read() // until in ends, with the process at the latest: a read of a terminal cannot be stopped
	}
	_, err := io.WriteString(out, enterScreen)
	return t, err
}

func (t *terminal) close() {
	_, _ = io.WriteString(t.out, leaveScreen) // a terminal that is gone needs no restoring
	if t.before != nil {
		_ = term.Restore(int(t.in.Fd()), t.before)
	}
}

// size returns columns and rows, as they are now.
func (t *terminal) size() (width, height int) {
	width, height, err := term.GetSize(int(t.out.Fd()))
	if err != nil || width < 1 || height < 1 {
		return 80, 24
	}
	return width, height
}

// draw replaces the picture. Lines are overwritten rather than cleared first, which would flicker.
func (t *terminal) draw(lines []string) error {
	page := []byte(home)
	for i, line := range lines {
		page = append(page, line...)
		page = append(page, eraseLine...)
		if i < len(lines)-1 {
			page = append(page, "\r\n"...)
		}
	}
	_, err := t.out.Write(append(page, eraseBelow...))
	return err
}

func (t *terminal) read() {
	buffer := make([]byte, 64)
	for {
		n, err := t.in.Read(buffer)
		if err != nil {
			return
		}
		for _, k := range parseKeys(buffer[:n]) {
			t.keys <- k
		}
	}
}

// parseKeys returns the known keys of what was read. In raw mode Ctrl-C is a character.
func parseKeys(text []byte) (keys []key) {
	for _, arrow := range []struct{ sequence, letter string }{
		{"\x1b[C", "n"}, {"\x1b[D", "p"}, {"\x1b[A", "+"}, {"\x1b[B", "-"}, {"\x1b[Z", "p"},
	} {
		text = bytes.ReplaceAll(text, []byte(arrow.sequence), []byte(arrow.letter))
	}
	for _, c := range text {
		switch {
		case c == 'q' || c == 'Q' || c == 3:
			keys = append(keys, keyQuit)
		case c == '\t' || c == 'n':
			keys = append(keys, keyNext)
		case c == 'p':
			keys = append(keys, keyPrevious)
		case c == '+' || c == '=':
			keys = append(keys, keyMore)
		case c == '-':
			keys = append(keys, keyLess)
		case c >= '1' && c <= '9':
			keys = append(keys, keySymbol+key(c-'1'))
		}
	}
	return keys
}
