package natsbus

import (
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// parseLetter reads a letter from its headers. One that somebody else has published there has zero
// fields; it can be read and purged, but not put back.
func parseLetter(msg *jetstream.RawStreamMsg) *DeadLetter {
	at, _ := parsePlace(msg.Header)
	l := &DeadLetter{
		Sequence: msg.Sequence,
		Reason:   DeadReason(msg.Header.Get(HeaderDeadReason)),
		Stage:    msg.Header.Get(HeaderDeadStage),
		Error:    msg.Header.Get(HeaderDeadError),
		Stream:   at.stream, Source: at.source, StreamSequence: at.sequence, Subject: at.subject, Consumer: at.consumer,
		Redrives: at.redrives, StoredAt: at.storedAt, FirstFailedAt: at.failedAt,
		FailedAt: parseInstant(msg.Header, HeaderDeadFailedAt),
		Header:   originalHeader(msg.Header), Body: msg.Data,
		raw: msg.Header,
	}
	l.Deliveries, _ = strconv.ParseUint(msg.Header.Get(HeaderDeadDeliveries), 10, 64)
	l.BodySize = len(l.Body)
	if size, err := strconv.Atoi(msg.Header.Get(HeaderDeadBodySize)); err == nil {
		l.BodySize = size
	}
	l.HeadersCut, _ = strconv.Atoi(msg.Header.Get(HeaderDeadHeadersCut))
	l.Attempts, _ = strconv.Atoi(msg.Header.Get(HeaderDeadAttempts))
	return l
}

// originalHeader undoes keptHeader.
func originalHeader(header nats.Header) nats.Header {
	original := make(nats.Header)
	for name, values := range header {
		if own, ok := strings.CutPrefix(name, headerDeadOriginal); ok {
			original[own] = values
		} else if !reserved(name) {
			original[name] = values
		}
	}
	return original
}
