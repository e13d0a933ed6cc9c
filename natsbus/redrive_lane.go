package natsbus

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// RedriveStream is the name of the stream of dead letters that are to be tried again unless another is
// configured: MD_REDRIVE for the prefix "md".
func RedriveStream(prefix string) string { return streamName(prefix, "_REDRIVE") }

// redriveSubject is the lane of one durable: redrive.STREAM.DURABLE.SUBJECT. What is published there
// reaches nobody else, so it neither comes up a second time at other readers nor stands between newer
// records of its symbol.
func redriveSubject(stream, durable, subject string) string {
	return "redrive." + stream + "." + durable + "." + subject
}

// findLane sets what the reader reads to the re-drive lane of its Consumer. The durable's name has a
// character in it that no name of a stream or durable of ours has, so that two never meet.
func (r *reader) findLane() error {
	own := r.Consumer.cfg
	filter := redriveSubject(own.Stream, own.Durable, ">")
	name, err := r.js.StreamNameBySubject(r.ctx, filter)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("natsbus: no re-drive lane %s: %w; EnsureStreams makes it", filter, err)
	}
	if err != nil {
		return err
	}
	r.cfg.Stream, r.cfg.Durable, r.cfg.Filter = name, own.Stream+"="+own.Durable, filter
	return nil
}

// origin returns where the record of a message stood first.
func (r *reader) origin(msg pull.Delivery) marketprism.Origin {
	if r.lane {
		at := r.place(msg)
		return marketprism.Origin{Source: at.source, Sequence: at.sequence}
	}
	return marketprism.Origin{Source: r.source, Sequence: msg.Meta.Sequence.Stream}
}

// place returns where a message stood first. A message in the lane that nobody re-drove, but somebody
// published there, stands in the lane.
func (r *reader) place(msg pull.Delivery) place {
	if r.lane {
		if at, ok := parsePlace(msg.Header); ok && at.stream == r.Consumer.cfg.Stream {
			return at
		}
	}
	return place{
		stream: r.cfg.Stream, source: r.source, consumer: r.Consumer.cfg.Durable, subject: msg.Subject,
		sequence: msg.Meta.Sequence.Stream, storedAt: msg.Meta.Timestamp,
	}
}

// parsePlace reads the place from the headers of a dead letter.
func parsePlace(header nats.Header) (at place, ok bool) {
	at = place{
		stream: header.Get(HeaderDeadStream), source: header.Get(HeaderDeadSource),
		consumer: header.Get(HeaderDeadConsumer), subject: header.Get(HeaderDeadSubject),
		storedAt: parseInstant(header, HeaderDeadStoredAt), failedAt: parseInstant(header, HeaderDeadFirstFailedAt),
	}
	at.sequence, _ = strconv.ParseUint(header.Get(HeaderDeadSequence), 10, 64)
	at.redrives, _ = strconv.Atoi(header.Get(HeaderDeadRedrives))
	return at, at.stream != "" && at.source != "" && at.consumer != "" && at.subject != "" && at.sequence > 0 && at.redrives >= 0
}

// parseInstant returns the zero time for a header that is absent or none.
func parseInstant(header nats.Header, name string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, header.Get(name))
	return t
}
