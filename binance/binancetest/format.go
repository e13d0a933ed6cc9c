package binancetest

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A numberFormat is the minimum number of decimals of a symbol's numbers, and the decimals of its base asset.
type numberFormat struct {
	price, quantity, base int
}

// newNumberFormat returns eight decimals of a price and those of the base asset of a quantity for spot, as the filters
// of exchangeInfo have them ("92233720368.0" of BTTC), and those of the symbol's steps for futures.
func newNumberFormat(r *rules, sym *Symbol) numberFormat {
	if r.paddedDecimals {
		return numberFormat{orderbook.FractionDigits, sym.BasePrecision, sym.BasePrecision}
	}
	return numberFormat{decimalsOf(sym.TickSize), decimalsOf(sym.StepSize), sym.BasePrecision}
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

// appendQuantity appends a quantity; MaxFixed as the largest int64 of the base asset's precision, at which the
// exchange caps the quantities of levels (binance-spot-api-docs CHANGELOG, 2022-05-23).
func (f numberFormat) appendQuantity(b []byte, q orderbook.Fixed) []byte {
	if q == orderbook.MaxFixed {
		digits := strconv.FormatInt(math.MaxInt64, 10)
		point := len(digits) - f.base
		return append(append(append(append(append(b, '"'), digits[:point]...), '.'), digits[point:]...), '"')
	}
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
