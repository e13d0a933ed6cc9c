package binance

import (
	"errors"
	"fmt"

	"github.com/marketprism/marketprism/internal/scan"
)

// The ways in which a frame or an answer fails to decode. They come wrapped in a *DecodeError, as do
// orderbook.ErrSyntax, orderbook.ErrRange and orderbook.ErrPrecision where a number is at fault.
var (
	ErrTruncated      = scan.ErrTruncated // it ends too early
	ErrMalformed      = scan.ErrMalformed // it is not JSON
	ErrType           = scan.ErrType      // a value is a string, say, where the venue documents a number
	ErrDepth          = scan.ErrDepth     // arrays and objects lie more than 128 deep in each other
	ErrMissingField   = errors.New("required field is missing")
	ErrDuplicateField = errors.New("field occurs twice")
)

// A DecodeError says that a frame or a REST answer could not be decoded, and where.
type DecodeError struct {
	Stream string // the combined stream's name, if it stands before the error; else ""
	Offset int64  // byte at which the error was noticed
	Data   []byte // a copy of what stands around Offset, at most 256 bytes
	Err    error
}

func (e *DecodeError) Error() string {
	of := ""
	if e.Stream != "" {
		of = " of " + e.Stream
	}
	return fmt.Sprintf("binance: decode%s: at byte %d: %v: near %q", of, e.Offset, e.Err, e.Data)
}

func (e *DecodeError) Unwrap() error { return e.Err }

// A StreamError is the venue's refusal of a request on a websocket connection.
type StreamError struct {
	Code    int
	Message string
}

func (e *StreamError) Error() string {
	return fmt.Sprintf("binance: request refused: %s (code %d)", e.Message, e.Code)
}

const errorContext = 128 // bytes kept on each side of an error

func newDecodeError(stream string, text []byte, offset int, err error) *DecodeError {
	from, to := max(0, offset-errorContext), min(len(text), offset+errorContext)
	return &DecodeError{
		Stream: stream,
		Offset: int64(offset),
		Data:   append([]byte(nil), text[from:to]...),
		Err:    err,
	}
}

func namedField(err error, name string) error { return fmt.Errorf("%w: %q", err, name) }
