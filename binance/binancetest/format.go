package binancetest

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A numberFormat is how a symbol's numbers are written: with a fixed number of decimals, or more
// where a number has more.
type numberFormat struct {
	price, quantity int // decimals
}

// newNumberFormat gives spot numbers all eight decimals, and futures numbers those of the symbol's steps.
func newNumberFormat(r *rules, tick, step orderbook.Fixed) numberFormat {
	if r.paddedDecimals {
		return numberFormat{orderbook.FractionDigits, orderbook.FractionDigits}
	}
	return numberFormat{decimalsOf(tick), decimalsOf(step)}
}

func decimalsOf(f orderbook.Fixed) int {
	_, fraction, _ := strings.Cut(f.String(), ".")
	return len(fraction)
}

func appendNumber(b []byte, f orderbook.Fixed, decimals int) []byte {
	start := len(b)
	b, _ = f.AppendText(b) // never fails
	have := 0
	if point := slices.Index(b[start:], '.'); point >= 0 {
		have = len(b) - start - point - 1
	} else if decimals > 0 {
		b = append(b, '.')
	}
	for ; have < decimals; have++ {
		b = append(b, '0')
	}
	return b
}

func (f numberFormat) appendPrice(b []byte, p orderbook.Fixed) []byte {
	return append(appendNumber(append(b, '"'), p, f.price), '"')
}

func (f numberFormat) appendQuantity(b []byte, q orderbook.Fixed) []byte {
	return append(appendNumber(append(b, '"'), q, f.quantity), '"')
}

// A form is how a connection wants events.
type form uint8

// The forms.
const (
	inMillis form = iota // JSON, with times in milliseconds
	inMicros             // or in microseconds
	inSBE                // binary
)

// A payload writes the data of a stream event. It is nil in a form that the exchange does not have it in.
type payload func(b []byte, as form) []byte

func appendTime(b []byte, key string, t time.Time, as form) []byte {
	b = append(b, key...)
	if as == inMicros {
		return strconv.AppendInt(b, t.UnixMicro(), 10)
	}
	return strconv.AppendInt(b, t.UnixMilli(), 10)
}

func appendInt(b []byte, key string, v int64) []byte {
	return strconv.AppendInt(append(b, key...), v, 10)
}

// A requestError is answered as {"error":{"code":…,"msg":…},"id":…}. The documents show it flat; on
// the wire it is nested.
type requestError struct {
	Code int    `json:"code"`
	Msg  string `json:"msg"`
}

func jsonString(s string) []byte {
	b, _ := json.Marshal(s) // a string always marshals
	return b
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}
