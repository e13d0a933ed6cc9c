// Package plain makes text of others, such as of peers on the bus, an exchange or a server, safe to print: a terminal carries out
// escape sequences, and in UTF-8 some single characters too, and shows text in the order that characters of direction say.
package plain

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Cell returns text on one line: what cannot be printed is escaped as in Go, and so are quotes, newlines and tabs.
func Cell(text string) string {
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// Text returns text of several lines: what cannot be printed is escaped as in Go, except newlines and tabs.
func Text(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if strconv.IsPrint(r) && (r != utf8.RuneError || n > 1) || r == '\n' || r == '\t' {
			b.WriteString(text[i : i+n])
		} else {
			b.WriteString(Cell(text[i : i+n]))
		}
		i += n
	}
	return b.String()
}

// JSON returns a Writer that escapes what cannot be printed in the JSON that is written to it, with whole characters in
// each Write. The values stay the same.
func JSON(w io.Writer) io.Writer { return jsonWriter{w} }

type jsonWriter struct{ w io.Writer }

func (j jsonWriter) Write(p []byte) (int, error) {
	if isASCII(p) {
		return j.w.Write(p)
	}
	out := make([]byte, 0, len(p)+16)
	for _, r := range string(p) {
		switch {
		case r == '\n' || r == '\t' || strconv.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	if _, err := j.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// isASCII reports whether all bytes are printed as they are, or are spaces.
func isASCII(p []byte) bool {
	for _, c := range p {
		if c < ' ' && c != '\n' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}
