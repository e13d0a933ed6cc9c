package natsbus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/defaults"
)

// ErrNoDeadLetter is the error of DeadLetters.Get for a sequence at which there is none.
var ErrNoDeadLetter = errors.New("natsbus: no dead letter at that sequence")

// DeadLetters reads the stream of dead letters, and puts them back to be tried again. Reading changes
// nothing: a letter leaves the stream by Redrive, by Purge, or by the limits of the stream. All methods
// may be called concurrently.
type DeadLetters struct {
	js     jetstream.JetStream
	stream string

	redriven, purged, failures atomic.Uint64
}

// DeadLetterCounts count what was done by one DeadLetters since it was made.
type DeadLetterCounts struct {
	Redriven uint64 // letters put back
	Purged   uint64 // letters removed for good
	Failed   uint64 // letters that could not be put back or removed, each time that it was tried
}

// Counts returns the counters.
func (d *DeadLetters) Counts() DeadLetterCounts {
	return DeadLetterCounts{Redriven: d.redriven.Load(), Purged: d.purged.Load(), Failed: d.failures.Load()}
}

// NewDeadLetters returns the dead letters in a stream, such as DeadLettersStream names.
func NewDeadLetters(js jetstream.JetStream, stream string) *DeadLetters {
	return &DeadLetters{js: js, stream: stream}
}

// A DeadLetter is a message that a durable could not use.
type DeadLetter struct {
	Sequence uint64 // in the stream of dead letters

	Reason DeadReason
	Stage  string // "decode", "write" or "deliver"
	Error  string // cut to 1024 bytes

	Stream         string // where the message stands, and
	Source         string // that stream's incarnation, as in Record.Origin
	StreamSequence uint64
	Subject        string
	Consumer       string // the durable

	Deliveries    uint64    // by the server, since the durable was last reset
	Attempts      int       // Writes of it alone that failed; 1 if it is no record
	Redrives      int       // how often it was put back before
	StoredAt      time.Time // clock of the server
	FirstFailedAt time.Time // clock of the Consumer, as is FailedAt
	FailedAt      time.Time

	Header nats.Header // of the original, Nats-Msg-Id and traceparent included
	Body   []byte      // of the original

	// BodySize is how many bytes the original's body has, and HeadersCut how many headers of it are left
	// out here. Where BodySize is not len(Body), a letter with the body would have been larger than the
	// bus allows, and cannot be put back. The message stands in Stream at StreamSequence for as long as
	// that keeps it.
	BodySize   int
	HeadersCut int

	raw nats.Header
}

// A DeadLetterFilter selects dead letters. The zero DeadLetterFilter selects all.
type DeadLetterFilter struct {
	Subject   string       // of the original, with wildcards, such as md.binance.*.depth.>; "" means all
	Stream    string       // of the original; "" means all
	Consumer  string       // "" means all
	Reasons   []DeadReason // empty means all
	From, To  time.Time    // FailedAt in [From, To); zero means no limit
	Sequences []uint64     // in the stream of dead letters; empty means all
}

// pattern returns the subjects in the stream of dead letters.
func (f DeadLetterFilter) pattern() string {
	defaults.Set(&f.Subject, ">")
	defaults.Set(&f.Stream, "*")
	defaults.Set(&f.Consumer, "*")
	return deadSubject(f.Stream, f.Consumer, f.Subject)
}

// match tells of a letter on a subject that matches whether the rest does.
func (f DeadLetterFilter) match(l *DeadLetter) bool {
	return (len(f.Reasons) == 0 || slices.Contains(f.Reasons, l.Reason)) &&
		(f.From.IsZero() || !l.FailedAt.Before(f.From)) && (f.To.IsZero() || l.FailedAt.Before(f.To)) &&
		(len(f.Sequences) == 0 || slices.Contains(f.Sequences, l.Sequence))
}

// A DeadLetterError tells at which place reading or moving dead letters failed. Errors of the server
// may pass; calling again goes on where it ended.
type DeadLetterError struct {
	Op       string // "read", "redrive" or "purge"
	Stream   string // of dead letters
	Sequence uint64 // of the letter, or of the first that was not read
	Err      error
}

func (e *DeadLetterError) Error() string {
	return fmt.Sprintf("natsbus: %s dead letter %d of stream %s: %v", e.Op, e.Sequence, e.Stream, e.Err)
}

func (e *DeadLetterError) Unwrap() error { return e.Err }

// List yields the letters that match, oldest first, which the stream holds at the call; those that are
// removed meanwhile are left out. The last yield has an error, a *DeadLetterError or a *StreamError, if
// one came. It asks the server once for each letter.
func (d *DeadLetters) List(ctx context.Context, filter DeadLetterFilter) iter.Seq2[*DeadLetter, error] {
	return func(yield func(*DeadLetter, error) bool) {
		stream, err := d.js.Stream(ctx, d.stream)
		if err != nil {
			yield(nil, streamError(d.stream, "look up", err))
			return
		}
		pattern, last := jetstream.WithGetMsgSubject(filter.pattern()), stream.CachedInfo().State.LastSeq
		for at := uint64(1); at <= last; at++ {
			msg, err := stream.GetMsg(ctx, at, pattern)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err != nil {
				yield(nil, d.failed("read", at, err))
				return
			}
			if at = msg.Sequence; at > last {
				return
			}
			if letter := parseLetter(msg); filter.match(letter) && !yield(letter, nil) {
				return
			}
		}
	}
}

func (d *DeadLetters) failed(op string, sequence uint64, err error) error {
	return &DeadLetterError{Op: op, Stream: d.stream, Sequence: sequence, Err: err}
}

// Get returns the letter at a sequence. Its error wraps ErrNoDeadLetter if there is none.
func (d *DeadLetters) Get(ctx context.Context, sequence uint64) (*DeadLetter, error) {
	stream, err := d.js.Stream(ctx, d.stream)
	if err != nil {
		return nil, streamError(d.stream, "look up", err)
	}
	msg, err := stream.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		err = fmt.Errorf("%w: %w", ErrNoDeadLetter, err)
	}
	if err != nil {
		return nil, d.failed("read", sequence, err)
	}
	return parseLetter(msg), nil
}

// Purge removes the letters that match for good, and returns how many it has removed.
func (d *DeadLetters) Purge(ctx context.Context, filter DeadLetterFilter) (int, error) {
	purged := 0
	for letter, err := range d.List(ctx, filter) {
		if err != nil {
			return purged, err
		}
		if err := d.remove(ctx, "purge", letter); err != nil {
			d.failures.Add(1)
			return purged, err
		}
		purged++
		d.purged.Add(1)
	}
	return purged, nil
}

// remove takes a letter out of the stream. One that somebody else has taken out is no error.
func (d *DeadLetters) remove(ctx context.Context, op string, letter *DeadLetter) error {
	stream, err := d.js.Stream(ctx, d.stream)
	if err == nil {
		err = stream.DeleteMsg(ctx, letter.Sequence)
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !gone(err) {
		return d.failed(op, letter.Sequence, err)
	}
	return nil
}

// gone tells whether a message could not be deleted because it is not there.
func gone(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeSequenceNotFound
}

const codeSequenceNotFound jetstream.ErrorCode = 10043

// DeadLetterStats counts dead letters.
type DeadLetterStats struct {
	Letters int
	Bytes   int // of their bodies

	ByReason  map[DeadReason]int
	BySubject map[string]int // of the originals

	Oldest, Newest time.Time // FailedAt; zero if there are none
}

// Stats reads all letters and counts them.
func (d *DeadLetters) Stats(ctx context.Context) (DeadLetterStats, error) {
	stats := DeadLetterStats{ByReason: make(map[DeadReason]int), BySubject: make(map[string]int)}
	for letter, err := range d.List(ctx, DeadLetterFilter{}) {
		if err != nil {
			return stats, err
		}
		stats.Letters++
		stats.Bytes += len(letter.Body)
		stats.ByReason[letter.Reason]++
		stats.BySubject[letter.Subject]++
		if stats.Oldest.IsZero() || letter.FailedAt.Before(stats.Oldest) {
			stats.Oldest = letter.FailedAt
		}
		if letter.FailedAt.After(stats.Newest) {
			stats.Newest = letter.FailedAt
		}
	}
	return stats, nil
}
