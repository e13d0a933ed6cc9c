package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/shopspring/decimal"

	"github.com/marketprism/marketprism/orderbook"
)

var plain = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// number reads a number with shopspring/decimal; false if it is none, below zero, or has more than eight decimals.
func number(text string) (decimal.Decimal, bool) {
	if !plain.MatchString(text) {
		return decimal.Zero, false
	}
	d, err := decimal.NewFromString(text)
	return d, err == nil && !d.IsNegative() && d.Equal(d.Truncate(orderbook.FractionDigits))
}

// oracle reads levels with encoding/json.
func oracle(text []byte) ([]orderbook.Level, bool) {
	var rows [][]json.RawMessage
	if !utf8.Valid(text) || json.Unmarshal(text, &rows) != nil || rows == nil {
		return nil, false
	}
	levels := []orderbook.Level{}
	for _, row := range rows {
		if len(row) < 2 {
			return nil, false
		}
		var numbers [2]orderbook.Fixed
		for i := range numbers {
			var s *string
			if json.Unmarshal(row[i], &s) != nil || s == nil {
				return nil, false
			}
			n, ok := number(*s)
			if largest := orderbook.MaxFixed.Decimal(); ok && n.GreaterThan(largest) {
				n, ok = largest, i == 1 // a quantity: this or more
			}
			if !ok {
				return nil, false
			}
			numbers[i] = orderbook.Fixed(n.Shift(orderbook.FractionDigits).IntPart())
		}
		levels = append(levels, orderbook.Level{Price: numbers[0], Quantity: numbers[1]})
	}
	return levels, true
}

func countCapped(levels []orderbook.Level) (n int) {
	for _, l := range levels {
		if l.Quantity == orderbook.MaxFixed {
			n++
		}
	}
	return n
}

// check compares Levels and ShortLevel with the oracle, both at the end of the text and before more of it.
func check(t *testing.T, s *Scanner, text []byte) {
	t.Helper()
	want, ok := oracle(text)
	for _, after := range []string{"", strings.Repeat(" ", 2*window)} {
		for _, read := range []func(*Scanner) []orderbook.Level{allLevels, shortLevels} {
			s.Reset(append(slices.Clone(text), after...))
			got := read(s)
			s.ExpectEnd()
			switch err := s.Err(); {
			case ok && err != nil:
				t.Fatalf("%q: %v at %d", text, err, s.Offset())
			case !ok && err == nil:
				t.Fatalf("%q: accepted as %v", text, got)
			case ok && s.Capped() != countCapped(want):
				t.Fatalf("%q: %d are capped", text, s.Capped())
			case ok && !slices.Equal(got, want):
				t.Fatalf("%q:\ngot  %v\nwant %v", text, got, want)
			}
		}
	}
}

func allLevels(s *Scanner) []orderbook.Level { return s.Levels(nil) }

// shortLevels reads the levels that ShortLevel does not take as Levels does.
func shortLevels(s *Scanner) (levels []orderbook.Level) {
	s.Array()
	for s.Next() {
		if l, ok := s.ShortLevel(); ok {
			levels = append(levels, l)
		} else {
			levels = s.level(levels)
		}
	}
	return levels
}

var levelTexts = []string{
	`[]`, ` [ ] `,
	`[["65000.10000000","0.12300000"]]`,
	`[["65000.10000000","0.12300000"],["65000.00000000","0.00000000"],["64999.99000000","12345.67800000"]]`,
	`[["7.6110","2"],["7.6120","297"],["7.6150","0"]]`,                   // futures
	`[["427.79","222"],["427.8","0"],["1000","22"],["999.99","1"]]`,      // trimmed
	`[["0.00000638","177.00000000"],["0.00000637","12345678.00000000"]]`, // eight digits before the point
	`[["1","92233720368.54775807"],["1.5","0.0"],["1.50","0"],["1.500","0.00000000"]]`,
	`[["9.99000000","1.00000000"],["10.01000000","1.00000000"],["100.00000000","1.00000000"]]`,
	`[["1.00000000","2.00000000",[]],["1.10000000","2.00000000",["x",{}]]]`, // before 2019
	`[ ["1.0" , "2.0"],	["1.1","2.1"] ]`,
	`[["1.00000000","1.00000000"],["-1.00000000","1.00000000"]]`,
	`[["1.00000000","1.00000000"],["1.00000000","-1.00000000"]]`,
	`[["1.00000000","1.00000000"],["1.00000000","-0.00000000"]]`,
	`[["1.000000000","1.000000000"],["1.000000001","1"]]`,
	`[["0.00000048","310000000000.0"],["0.00000047","922337203685477580.7"],["0.00000046","92233720368.54775808"]]`,
	`[["92233720368.54775807","1"],["92233720368.54775808","1"]]`, `[["1","-310000000000.0"]]`, `[["1","310000000000.000000001"]]`,
	`[["\u0031.00000000","1.00000000"]]`,
	`[["1.00000000","1.00000000"],]`, `[["1.00000000","1.00000000"]`, `[["1.00000000","1.00000000"]]]`, `[,["1","1"]]`,
	`[["1.00000000"]]`, `[[]]`, `[1]`, `["1"]`, `[null]`, `null`, `{}`, `[["1.00000000",1.5]]`, `[["1",null]]`, `[[1,"1"]]`,
	`[["","1"]]`, `[["1.","1"]]`, `[[".1","1"]]`, `[["1e5","1"]]`, `[["+1","1"]]`, `[["1","1.00000000"],["1:00000000","1"]]`,
	`[["00001.00000000","007.00000000"]]`, `[["1234567.00000000","1234567.00000000"]]`,
}

func TestLevels(t *testing.T) {
	for _, text := range levelTexts {
		check(t, new(Scanner), []byte(text))
	}
}

// Levels and encoding/json agree on a regular text in which any one byte is replaced by any other.
func TestLevelsWithOneByteChanged(t *testing.T) {
	var s Scanner // keeps its forms, as it does between frames
	for _, text := range []string{
		`[["65000.10000000","0.12300000"],["65000.00000000","17.00000000"]]`,
		`[["7.6110","2"],["7.6120","297"]]`,
		`[["427.79","2.50"],["427.80","0.25"]]`,
	} {
		for i := range text {
			for c := range 256 {
				changed := []byte(text)
				changed[i] = byte(c)
				check(t, &s, changed)
			}
		}
	}
}

func TestLevelsOfAllForms(t *testing.T) {
	digits := "12345678901234"
	var numbers []string
	for whole := 1; whole <= 9; whole++ {
		numbers = append(numbers, digits[:whole])
		for decimals := 1; decimals <= 9; decimals++ {
			numbers = append(numbers, digits[:whole]+"."+digits[:decimals], digits[:whole]+"."+strings.Repeat("0", decimals))
		}
	}
	var s Scanner
	for _, price := range numbers {
		for _, quantity := range []string{"7", "0.5", "123.12345678", "1234567.00"} {
			check(t, &s, fmt.Appendf(nil, `[["%s","%s"],["%s","%s"]]`, price, quantity, quantity, price))
		}
	}
}

func TestLevelsTruncated(t *testing.T) {
	var s Scanner
	for _, text := range levelTexts {
		if _, ok := oracle([]byte(text)); !ok {
			continue
		}
		text = strings.TrimRight(text, " ")
		for n := range len(text) {
			s.Reset([]byte(text[:n]))
			s.Levels(nil)
			if !errors.Is(s.Err(), ErrTruncated) {
				t.Errorf("%q: error %v at %d, want %v", text[:n], s.Err(), s.Offset(), ErrTruncated)
			}
		}
	}
}

func TestManyLevels(t *testing.T) {
	const n = 30_000
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,["%d.%08d","%d.00000000"]`, i, i, n-i)
	}
	s := scanning("[" + b.String()[1:] + "]")
	got := s.Levels(nil)
	if len(got) != n || s.Err() != nil {
		t.Fatalf("%d levels, %v", len(got), s.Err())
	}
	for i, l := range got {
		want := orderbook.Level{Price: orderbook.Fixed(i)*orderbook.One + orderbook.Fixed(i), Quantity: orderbook.Fixed(n-i) * orderbook.One}
		if l != want {
			t.Fatalf("level %d is %v, want %v", i, l, want)
		}
	}
}

func TestLevelsAppend(t *testing.T) {
	first := orderbook.Level{Price: 1, Quantity: 2}
	s := scanning(`[["3","4"]]`)
	got := s.Levels([]orderbook.Level{first})
	want := []orderbook.Level{first, {Price: 3 * orderbook.One, Quantity: 4 * orderbook.One}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLevelsDoNotAllocate(t *testing.T) {
	var s Scanner
	room := make([]orderbook.Level, 0, 100)
	for _, text := range levelTexts {
		if _, ok := oracle([]byte(text)); !ok {
			continue
		}
		data := []byte(text)
		if n := testing.AllocsPerRun(100, func() {
			s.Reset(data)
			room = s.Levels(room[:0])
		}); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

func FuzzLevels(f *testing.F) {
	for _, text := range levelTexts {
		f.Add([]byte(text))
	}
	var s Scanner
	f.Fuzz(func(t *testing.T, text []byte) {
		if json.Valid(text) && depth(text) > MaxDepth {
			return
		}
		check(t, &s, text)
	})
}

// BenchmarkLevels reads 40 levels: as spot sends them, as futures do, and without trailing zeros, where each
// level has its own form.
func BenchmarkLevels(b *testing.B) {
	quantity := func(i int) orderbook.Fixed {
		return orderbook.Fixed(i*i*i%37) * orderbook.One / 1000 * orderbook.Fixed(1+i%11*90)
	}
	for _, form := range []struct {
		name  string
		level func(b []byte, price, quantity orderbook.Fixed) []byte
	}{
		{"eightDecimals", func(b []byte, p, q orderbook.Fixed) []byte {
			return fmt.Appendf(b, `,["%d.%08d","%d.%08d"]`, p/orderbook.One, p%orderbook.One, q/orderbook.One, q%orderbook.One)
		}},
		{"integerQuantities", func(b []byte, p, q orderbook.Fixed) []byte {
			return fmt.Appendf(b, `,["%d.%02d","%d"]`, p/orderbook.One, p%orderbook.One/1e6, q/orderbook.One)
		}},
		{"trimmed", func(b []byte, p, q orderbook.Fixed) []byte {
			return fmt.Appendf(b, `,["%v","%v"]`, p, q)
		}},
	} {
		var text []byte
		for i := range 40 {
			text = form.level(text, 65000*orderbook.One+orderbook.Fixed(i*7)*orderbook.One/100, quantity(i))
		}
		text = append(append([]byte("["), text[1:]...), "]}}"...)
		b.Run(form.name, func(b *testing.B) {
			var s Scanner
			var levels []orderbook.Level
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				s.Reset(text)
				levels = s.Levels(levels[:0])
			}
			if s.Err() != nil || len(levels) != 40 {
				b.Fatal(s.Err())
			}
		})
	}
}
