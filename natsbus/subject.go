package natsbus

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus/internal/check"
)

// DefaultPrefix is the first token of every subject unless another is configured.
const DefaultPrefix = check.DefaultPrefix

// ErrSubject is the error for a subject that Subject does not make, and for an invalid prefix.
var ErrSubject = errors.New("natsbus: not a subject of market data")

// Subject returns the subject of records of one kind of one instrument: PREFIX.EXCHANGE.MARKET.KIND.SYMBOL, as in
// md.binance.spot.depth.BTCUSDT. "" as prefix means DefaultPrefix.
//
// A token contains ASCII letters, digits, '-' and '_' unescaped, and also printable characters beyond ASCII, which NATS
// allows and some exchanges use in symbols. Every other byte, '=' included, is written as '=' and two upper-case
// hexadecimal digits, so that no two instruments share a subject. An empty token, which NATS does not allow, is a single
// '='.
func Subject(prefix string, inst marketprism.Instrument, kind marketprism.Kind) string {
	var buf [96]byte
	return string(appendSubject(buf[:0], prefix, inst, kind))
}

func appendSubject(b []byte, prefix string, inst marketprism.Instrument, kind marketprism.Kind) []byte {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return appendTokens(append(b, prefix...), inst, kind)
}

// appendTokens appends what follows the prefix.
func appendTokens(b []byte, inst marketprism.Instrument, kind marketprism.Kind) []byte {
	for _, token := range [...]string{inst.Exchange, string(inst.Market), kind.String(), inst.Symbol} {
		b = append(b, '.')
		b = appendToken(b, token)
	}
	return b
}

// ParseSubject is the inverse of Subject. Its error wraps ErrSubject.
func ParseSubject(prefix, subject string) (marketprism.Instrument, marketprism.Kind, error) {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	fail := func(why string) (marketprism.Instrument, marketprism.Kind, error) {
		return marketprism.Instrument{}, 0, fmt.Errorf("%w: %q %s", ErrSubject, subject, why)
	}
	rest, ok := strings.CutPrefix(subject, prefix+".")
	if !ok {
		return fail("does not begin with " + prefix)
	}
	tokens := strings.Split(rest, ".")
	if len(tokens) != 4 {
		return fail("has not four tokens after the prefix")
	}
	var text [4]string
	for i, token := range tokens {
		if text[i], ok = parseToken(token); !ok {
			return fail("is not escaped as Subject does it")
		}
	}
	kind, err := marketprism.ParseKind(text[2])
	if err != nil {
		return fail("names no kind")
	}
	return marketprism.Instrument{Exchange: text[0], Market: marketprism.Market(text[1]), Symbol: text[3]}, kind, nil
}

const (
	escape   = '='
	hexUpper = "0123456789ABCDEF"
)

func appendToken(b []byte, s string) []byte {
	if s == "" {
		return append(b, escape)
	}
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		if isPlain(r, size) {
			b = append(b, s[i:i+size]...)
		} else {
			for _, c := range []byte(s[i : i+size]) {
				b = append(b, escape, hexUpper[c>>4], hexUpper[c&15])
			}
		}
		i += size
	}
	return b
}

// isPlain reports whether a character of size bytes is written unescaped.
func isPlain(r rune, size int) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
	}
	broken := r == utf8.RuneError && size == 1
	return !broken && unicode.IsPrint(r)
}

// parseToken is the inverse of appendToken. It accepts only what appendToken writes: one form for each text.
func parseToken(token string) (string, bool) {
	if token == string(escape) {
		return "", true
	}
	text := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		c := token[i]
		if c == escape {
			if i+2 >= len(token) {
				return "", false
			}
			hi, lo := strings.IndexByte(hexUpper, token[i+1]), strings.IndexByte(hexUpper, token[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			c = byte(hi<<4 | lo)
			i += 2
		}
		text = append(text, c)
	}
	back := appendToken(make([]byte, 0, len(token)), string(text))
	return string(text), token != "" && string(back) == token
}
