package dayfile

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/marketprism/marketprism"
)

const manifestFolder = "_manifest"

// A Manifest describes the files of an instrument and day. It is the JSON file
// _manifest/EXCHANGE/MARKET/SYMBOL/DATE.json, and written after them.
type Manifest struct {
	Version  int    `json:"version"` // of this form: 1
	Format   string `json:"format"`
	Exchange string `json:"exchange"`
	Market   string `json:"market"`
	Symbol   string `json:"symbol"`
	Date     string `json:"date"`

	Files []FileInfo `json:"files"`
	Spans []SpanInfo `json:"spans"` // of the book
	Gaps  []GapInfo  `json:"gaps"`

	Updates    int64 `json:"updates"`
	Snapshots  int64 `json:"snapshots"`
	Trades     int64 `json:"trades"`
	Aggregates bool  `json:"aggregates,omitempty"` // the trades are aggregates
	Tickers    int64 `json:"tickers"`
	FirstID    int64 `json:"first_id"` // update id of the book's first event
	LastID     int64 `json:"last_id"`  // update id of the book at the end
	Seq        int64 `json:"seq"`      // of the last record

	Copies  int64 `json:"copies"`  // records that came again: the files have them once
	Outside int64 `json:"outside"` // updates outside a span: the files do not have them
	Damaged int   `json:"damaged"` // places of the log that could not be read: records are missing, and each has a Gap

	// The book at the end of the day: SHA-256 of its text and CRC-32C, see orderbook.Book.AppendText and Checksum. "" outside a span.
	BookSHA256 string `json:"book_sha256,omitempty"`
	BookCRC32C string `json:"book_crc32c,omitempty"`
}

// FileInfo is one file of a Manifest.
type FileInfo struct {
	Name  string `json:"name"` // below the folder, with slashes
	Bytes int64  `json:"bytes"`
	Rows  int64  `json:"rows"`
}

// SpanInfo is one span of a book, or its part on that day. Times are ns since 1970 of the effective local clock.
type SpanInfo struct {
	Span       int64 `json:"span"`
	FirstID    int64 `json:"first_id"`
	LastID     int64 `json:"last_id"`
	FirstLocal int64 `json:"first_local_ns"`
	LastLocal  int64 `json:"last_local_ns"`
}

// GapInfo is one Gap record.
type GapInfo struct {
	Span   int64  `json:"span"` // that it ends, or the last one before it
	From   int64  `json:"from_local_ns"`
	After  int64  `json:"after_id"`
	Reason string `json:"reason"`
	Cause  string `json:"cause,omitempty"`
}

func (m *Manifest) store(root string) error {
	dir := filepath.Join(root, manifestFolder, Escape(m.Exchange), Escape(m.Market), Escape(m.Symbol))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return writeWhole(filepath.Join(dir, m.Date+".json"), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", " ")
		return enc.Encode(m)
	})
}

// ReadManifest returns the manifest of an instrument and day. The error wraps fs.ErrNotExist if its files were not made.
func ReadManifest(root string, in marketprism.Instrument, date time.Time) (*Manifest, error) {
	path := filepath.Join(root, manifestFolder, Escape(in.Exchange), Escape(string(in.Market)), Escape(in.Symbol), date.UTC().Format(time.DateOnly)+".json")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("dayfile: %s: %w", path, err)
	}
	return m, nil
}
