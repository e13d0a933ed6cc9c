package binancetest

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A numberFormat is the minimum number of decimals of a symbol's numbers.
type numberFormat struct {
	price, quantity int
}

// newNumberFormat returns eight decimals for spot, and those of the symbol's steps for futures.
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

// A form is the encoding of a connection's events.
type form uint8

// The forms.
const (
	inMillis form = iota // JSON, with times in milliseconds
	inMicros             // JSON, with times in microseconds
	inSBE                // binary
)

// A payload appends the data of a stream event, or returns nil for a form in which the exchange does not
// send the event.
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

// A requestError is the body of a REST error, and the error of a control message.
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
