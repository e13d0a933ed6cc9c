package recording

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"time"
)

// A Kind is the kind of a Line.
type Kind string

// The kinds of Line.
const (
	REST Kind = "rest" // an answer to a REST request
	WS   Kind = "ws"   // a frame of a combined websocket stream
)

// A Line is one answer or frame, verbatim.
type Line struct {
	ReceivedAt time.Time // local clock of the recorder
	Kind       Kind

	Path string          // REST: path and query of the request
	Body json.RawMessage // REST: the answer

	Frame json.RawMessage // WS: the whole frame, {"stream":…,"data":…}
}

// The errors of a line. They come wrapped in a *LineError.
var (
	ErrTruncated = errors.New("recording ends in the middle")
	ErrTooLong   = fmt.Errorf("line is longer than %d bytes", MaxLine)
	ErrKind      = errors.New("kind is neither rest nor ws")
	ErrMissing   = errors.New("ts, path, body or frame is missing")
	ErrFrame     = errors.New("frame is not one of a combined stream")
)

// A LineError says which line of which recording is broken, and how.
type LineError struct {
	Name string // of the recording, as given
	Line int    // from 1
	Err  error  // ErrTruncated and so on, or an error of the decoder of JSON, gzip or zstd
}

func (e *LineError) Error() string {
	return fmt.Sprintf("recording: %s:%d: %v", e.Name, e.Line, e.Err)
}

func (e *LineError) Unwrap() error { return e.Err }

// parse decodes one line of the file.
func parse(text []byte) (Line, error) {
	var raw struct {
		TS    *int64          `json:"ts"`
		Kind  Kind            `json:"kind"`
		Path  string          `json:"path"`
		Body  json.RawMessage `json:"body"`
		Frame json.RawMessage `json:"frame"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return Line{}, err
	}
	switch {
	case raw.Kind != REST && raw.Kind != WS:
		return Line{}, fmt.Errorf("%w: %q", ErrKind, raw.Kind)
	case raw.TS == nil, raw.Kind == WS && raw.Frame == nil, raw.Kind == REST && (raw.Path == "" || raw.Body == nil):
		return Line{}, ErrMissing
	}
	return Line{ReceivedAt: time.Unix(0, *raw.TS), Kind: raw.Kind, Path: raw.Path, Body: raw.Body, Frame: raw.Frame}, nil
}

// Stream returns the stream name of a WS line's frame, and its payload. The error is ErrFrame.
func (l *Line) Stream() (name string, data json.RawMessage, err error) {
	var frame struct {
		Stream string          `json:"stream"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(l.Frame, &frame); err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	if frame.Stream == "" || frame.Data == nil {
		return "", nil, ErrFrame
	}
	return frame.Stream, frame.Data, nil
}

// DepthSymbol returns the symbol of a REST line with a depth snapshot; ok is false for every other line.
func (l *Line) DepthSymbol() (symbol string, ok bool) {
	if l.Kind != REST {
		return "", false
	}
	u, err := url.Parse(l.Path)
	if err != nil || path.Base(u.Path) != "depth" {
		return "", false
	}
	symbol = u.Query().Get("symbol")
	return symbol, symbol != ""
}
