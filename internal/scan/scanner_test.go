package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/marketprism/marketprism/orderbook"
)

func scanning(text string) *Scanner {
	s := new(Scanner)
	s.Reset([]byte(text))
	return s
}

func TestWalkThroughObjectsAndArrays(t *testing.T) {
	s := scanning(" { \"id\" : 7 ,\n\t\"list\" : [ \"a\" , \"b\" ] , \"no\":[],\"none\":{}, \"on\":true,\"off\":false,\r\"nil\":null}\n")
	var got []string
	s.Object()
	for key, ok := s.Key(); ok; key, ok = s.Key() {
		name := string(key)
		switch s.Kind() {
		case Number:
			got = append(got, name+"="+strconv.FormatInt(s.Int(), 10))
		case Array:
			s.Array()
			for s.Next() {
				name += "," + string(s.String())
			}
			got = append(got, name)
		case Bool:
			got = append(got, name+"="+strconv.FormatBool(s.Bool()))
		case Null:
			got = append(got, name+"="+strconv.FormatBool(s.Null()))
		default:
			s.Skip()
			got = append(got, name)
		}
	}
	s.ExpectEnd()
	if err := s.Err(); err != nil {
		t.Fatalf("at %d: %v", s.Offset(), err)
	}
	const want = "id=7 list,a,b no none on=true off=false nil=true"
	if joined := strings.Join(got, " "); joined != want {
		t.Errorf("got %s\nwant %s", joined, want)
	}
}

func TestErrors(t *testing.T) {
	object := func(s *Scanner) {
		s.Object()
		for _, ok := s.Key(); ok; _, ok = s.Key() {
			s.Skip()
		}
	}
	integer := func(s *Scanner) { s.Int() }
	text := func(s *Scanner) { s.String() }
	fixed := func(s *Scanner) { s.Fixed() }
	boolean := func(s *Scanner) { s.Bool() }
	null := func(s *Scanner) { s.Null() }
	skip := (*Scanner).Skip
	tests := []struct {
		name   string
		read   func(*Scanner)
		input  string
		offset int
		want   error
	}{
		{"empty text", object, ``, 0, ErrTruncated},
		{"only space", object, `  `, 2, ErrTruncated},
		{"array for object", object, `[]`, 0, ErrType},
		{"HTML for object", object, `<html>`, 0, ErrMalformed},
		{"object ends early", object, `{`, 1, ErrTruncated},
		{"key ends early", object, `{"a`, 3, ErrTruncated},
		{"no colon", object, `{"a"`, 4, ErrTruncated},
		{"no value", object, `{"a":`, 5, ErrTruncated},
		{"no closing brace", object, `{"a":1`, 6, ErrTruncated},
		{"no member after comma", object, `{"a":1,`, 7, ErrTruncated},
		{"number for key", object, `{1:2}`, 1, ErrMalformed},
		{"no comma", object, `{"a":1 "b":2}`, 7, ErrMalformed},
		{"leading comma", object, `{,"a":1}`, 1, ErrMalformed},
		{"trailing comma", object, `{"a":1,}`, 7, ErrMalformed},
		{"wrong bracket", object, `{"a":1]`, 6, ErrMalformed},
		{"something behind", object, `{} {}`, 3, ErrMalformed},
		{"two colons", object, `{"a"::1}`, 5, ErrMalformed},
		{"array trailing comma", skip, `[1,]`, 3, ErrMalformed},
		{"array leading comma", skip, `[,1]`, 1, ErrMalformed},
		{"array no comma", skip, `[1 2]`, 3, ErrMalformed},
		{"array ends early", skip, `[1`, 2, ErrTruncated},
		{"form feed is no space", skip, "\f1", 0, ErrMalformed},
		{"NUL behind", skip, "1\x00", 1, ErrMalformed},

		{"string for int", integer, `"1"`, 0, ErrType},
		{"int missing", integer, ``, 0, ErrTruncated},
		{"minus alone", integer, `-`, 1, ErrTruncated},
		{"minus and letter", integer, `-a`, 1, ErrMalformed},
		{"plus", integer, `+1`, 0, ErrMalformed},
		{"leading zero", integer, `01`, 1, ErrMalformed},
		{"leading zero of long number", integer, `0123456789`, 1, ErrMalformed},
		{"fraction", integer, `1.5`, 0, ErrType},
		{"exponent", integer, `1e3`, 0, ErrType},
		{"bad fraction", integer, `1.x`, 2, ErrMalformed},
		{"int too large", integer, `9223372036854775808`, 0, orderbook.ErrRange},
		{"int too small", integer, `-9223372036854775809`, 0, orderbook.ErrRange},
		{"int of 20 digits", integer, `10000000000000000000`, 0, orderbook.ErrRange},
		{"int of 40 digits", integer, strings.Repeat("7", 40), 0, orderbook.ErrRange},

		{"int for string", text, `1`, 0, ErrType},
		{"string ends early", text, `"abc`, 4, ErrTruncated},
		{"long string ends early", text, `"abcdefghijklmnop`, 17, ErrTruncated},
		{"control character", text, "\"a\nb\"", 2, ErrMalformed},
		{"control character behind an escape", text, "\"\\t\n\"", 3, ErrMalformed},
		{"not UTF-8", text, "\"ab\xff\"", 1, ErrMalformed},
		{"not UTF-8 behind an escape", text, "\"\\t\xff\"", 1, ErrMalformed},
		{"unknown escape", text, `"\x41"`, 2, ErrMalformed},
		{"escape ends early", text, `"\`, 2, ErrTruncated},
		{"escape and end", text, `"\n`, 3, ErrTruncated},
		{"short hex", text, `"\u12"`, 5, ErrMalformed},
		{"hex ends early", text, `"\u12`, 5, ErrTruncated},
		{"bad second half", text, `"\ud83d\u00x"`, 11, ErrMalformed},

		{"number for fixed", fixed, `1.5`, 0, ErrType},
		{"empty fixed", fixed, `""`, 0, orderbook.ErrSyntax},
		{"exponent in fixed", fixed, `"1e5"`, 0, orderbook.ErrSyntax},
		{"nine decimals", fixed, `"0.123456789"`, 0, orderbook.ErrPrecision},
		{"fixed too large", fixed, `"92233720368.54775808"`, 0, orderbook.ErrRange},
		{"fixed below zero", fixed, `"-0.00000001"`, 0, orderbook.ErrRange},

		{"null for bool", boolean, `null`, 0, ErrType},
		{"word ends early", boolean, `tru`, 3, ErrTruncated},
		{"other word", boolean, `falsy`, 4, ErrMalformed},
		{"other word with n", null, `nil`, 1, ErrMalformed},
		{"word glued to the next", skip, `nullnull`, 4, ErrMalformed},

		{"skip nothing", skip, `]`, 0, ErrMalformed},
		{"skip bad number", skip, `[1.]`, 3, ErrMalformed},
		{"skip bad exponent", skip, `[1e]`, 3, ErrMalformed},
		{"skip bare exponent sign", skip, `[1e+`, 4, ErrTruncated},
		{"skip leading zero", skip, `[-01]`, 3, ErrMalformed},
		{"too deep", skip, strings.Repeat("[", MaxDepth+1), MaxDepth, ErrDepth},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := scanning(test.input)
			test.read(s)
			s.ExpectEnd()
			if err := s.Err(); !errors.Is(err, test.want) || s.Offset() != test.offset {
				t.Errorf("error %v at %d, want %v at %d", err, s.Offset(), test.want, test.offset)
			}
		})
	}
}

func TestErrorStays(t *testing.T) {
	s := scanning(`{"a":x,"b":1}`)
	s.Object()
	s.Key()
	s.Int()
	s.Fail(12, ErrDepth)
	s.Seek(7)
	if _, ok := s.Key(); ok || s.Next() || s.Int() != 0 || s.Fixed() != 0 || s.Bool() || s.Null() || s.Kind() != None || s.Levels(nil) != nil {
		t.Error("something could be read after an error")
	}
	if s.Err() != ErrMalformed || s.Offset() != 5 {
		t.Errorf("error %v at %d, want the first one at 5", s.Err(), s.Offset())
	}
	s.Reset([]byte("1"))
	if s.Int() != 1 || s.Err() != nil {
		t.Error("Reset does not start anew")
	}
}

func TestSeek(t *testing.T) {
	s := scanning(`{"b":1,"a":2}`)
	s.Object()
	s.Key()
	at := s.Offset()
	s.Skip()
	s.Key()
	s.Skip()
	s.Seek(at)
	if n := s.Int(); n != 1 {
		t.Errorf("read %d, want 1", n)
	}
	if key, ok := s.Key(); !ok || string(key) != "a" {
		t.Errorf("key %q, %v, want a", key, ok)
	}
}

func TestInt(t *testing.T) {
	numbers := []int64{math.MaxInt64, math.MinInt64, 0, 1_770_000_000_182, 1_770_000_000_182_123}
	for n := int64(1); n < math.MaxInt64/10; n = n*10 + 7 {
		numbers = append(numbers, n, -n, n+1)
	}
	for _, n := range numbers {
		text := strconv.FormatInt(n, 10)
		for _, after := range []string{"", ",", " ", `,"abcdefgh":1`} {
			s := scanning(text + after)
			if got := s.Int(); got != n || s.Err() != nil || s.Offset() != len(text) {
				t.Errorf("%s: %d, %v, read to %d", text+after, got, s.Err(), s.Offset())
			}
		}
	}
	if got := scanning("-0").Int(); got != 0 {
		t.Errorf("-0 is %d", got)
	}
}

func TestStringIsWhatEncodingJSONReads(t *testing.T) {
	for _, text := range []string{
		`""`, `"a"`, `"abcdefg"`, `"abcdefgh"`, `"btcusdt@depth@100ms"`, `"é"`, `"交易对USDT"`, `"\u4e8a"`,
		`"\"\\\/\b\f\n\r\t"`, `"\ud83d\ude00"`, `"\uD83D\uDE00x"`, `"\ud83d"`, `"\ud83dx"`, `"\ud83d\n"`, `"\ude00\ud83d"`,
		`"\ud83d\ud83d\ude00"`, `"abcdefgh\u0000é"`, `"\u00e9\u00E9"`, "\"\x7f\"", `"12345678\"12345678"`,
	} {
		var want string
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		s := scanning(text)
		if got := string(s.String()); got != want || s.Err() != nil || s.Offset() != len(text) {
			t.Errorf("%s is %q, %v, read to %d; want %q", text, got, s.Err(), s.Offset(), want)
		}
	}
}

func TestInterned(t *testing.T) {
	var in Intern
	var first string
	for i, text := range []string{`"BTCUSDT"`, ` "BTCUSDT"`, `"ETHUSDT"`, `"BTCUSDT"`, `"BTCUSD\u0054"`, `"BTCUSDT"`} {
		s := scanning(text)
		got := s.Interned(&in)
		if want := "BTCUSDT"; i == 2 {
			want = "ETHUSDT"
		} else if got != want || s.Err() != nil || s.Offset() != len(text) {
			t.Fatalf("%s is %q, %v", text, got, s.Err())
		}
		if i == 0 {
			first = got
		}
	}
	if s := scanning(`"BTCUSDTX"`); s.Interned(&in) != "BTCUSDTX" {
		t.Error("a longer name is taken for one known")
	}
	if s := scanning(`"BTCUSDT`); s.Interned(&in) != "" || s.Err() != ErrTruncated {
		t.Errorf("a name cut off is no error but %v", s.Err())
	}
	if s := scanning(`7`); s.Interned(&in) != "" || s.Err() != ErrType {
		t.Errorf("a number is no error but %v", s.Err())
	}
	if first != "BTCUSDT" {
		t.Error("a string changed")
	}
}

func TestInternIsBounded(t *testing.T) {
	var in Intern
	for i := range MaxInterned + 10 {
		text := strconv.Quote(strconv.Itoa(i))
		if got := scanning(text).Interned(&in); strconv.Quote(got) != text {
			t.Fatalf("%s is %q", text, got)
		}
	}
	if len(in.known) != MaxInterned {
		t.Errorf("%d strings are kept, want %d", len(in.known), MaxInterned)
	}
}

// depth returns how deeply arrays and objects of valid JSON are nested.
func depth(text []byte) int {
	dec := json.NewDecoder(bytes.NewReader(text))
	deepest, now := 0, 0
	for {
		token, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			now++
			deepest = max(deepest, now)
		case json.Delim(']'), json.Delim('}'):
			now--
		}
	}
}

func FuzzSkip(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `null`, `true`, `false`, `0`, `-0.5e+10`, `""`, `{"a":[1,2,{"b":"\u00e9"}],"c":null}`, ` [ 1 , "x" ] `,
		`{"e":"depthUpdate","b":[["1.0","2"]]}`, "\"\xff\"", `"\ud800"`, `[1,]`, `{"a":1,}`, `01`, `1.`, `[[[[]]]]`, `{"a" : {"b" : []}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s Scanner
		s.Reset(text)
		s.Skip()
		s.ExpectEnd()
		want := json.Valid(text) && utf8.Valid(text)
		want = want && depth(text) <= MaxDepth
		if got := s.Err() == nil; got != want {
			t.Errorf("%q: %v at %d, encoding/json says %v", text, s.Err(), s.Offset(), want)
		}
	})
}

// SkipLevels ends where Skip does, also for what are no levels.
func TestSkipLevels(t *testing.T) {
	for _, data := range []string{
		`[]`, `[["1.5","2"]]`, `[["1","2"],["3","4"]]`, ` [ ["1","2"] , ["3","4"] ]`, `[ ]`, `null`, `"]]"`, `7`, `[["1","2"]`, `[[`, `[`, ``,
	} {
		for _, rest := range []string{"", `,"a":[["5","6"]]}`, `}`} {
			var quick, thorough Scanner
			quick.Reset([]byte(data + rest))
			thorough.Reset([]byte(data + rest))
			quick.SkipLevels()
			if thorough.Skip(); thorough.Err() == nil && (quick.Err() != nil || quick.Offset() != thorough.Offset()) {
				t.Errorf("%s: skipped to %d (%v), want %d", data+rest, quick.Offset(), quick.Err(), thorough.Offset())
			}
		}
	}
}
