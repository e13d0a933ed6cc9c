package natsbus

import (
	"errors"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
)

// A FailureClass says what an error of a sink is about, and so what becomes of the records.
type FailureClass uint8

// The classes of failure.
const (
	// Outage: the sink cannot take anything at present. The batch is held and written again, without
	// end; no record is blamed.
	Outage FailureClass = iota
	// Refusal: the sink will never take one of the records. It is searched for, and only it becomes a
	// dead letter.
	Refusal
	// Unknown: it may be either. It is an Outage until ConsumerConfig.MaxAttempts is reached, and a
	// Refusal from then on.
	Unknown
)

// A Failure is what a Consumer needs to know of an error of its sink. The zero Failure is an Outage.
type Failure struct {
	Class FailureClass

	// Key is marketprism.Record.Key of the record concerned, where the sink names it: the Consumer then
	// writes it alone at once, and need not halve the batch until it has found it.
	Key string
}

// ClassifyError is how a Consumer tells failures apart unless it is configured otherwise: an error for
// which sink.Permanent is true is a Refusal, every other one an Outage. The Key of a Refusal is the result
// of the method RecordKey() string, where the error or one that it wraps has it.
func ClassifyError(err error) Failure {
	if !sink.Permanent(err) {
		return Failure{}
	}
	failure := Failure{Class: Refusal}
	var named interface{ RecordKey() string }
	if errors.As(err, &named) {
		failure.Key = named.RecordKey()
	}
	return failure
}

// A refusal is why a record is not written but becomes a dead letter.
type refusal struct {
	key    string // of the record, where the sink has named it
	letter cause
}

// parts returns where a batch of n records is parted to find the one that was refused: around it, if
// the sink has named it, otherwise in the middle.
func (f *refusal) parts(recs []marketprism.Record) []int {
	for i := range recs {
		if f.key != "" && recs[i].Key() == f.key {
			return []int{0, i, i + 1, len(recs)}
		}
	}
	return []int{0, len(recs) / 2, len(recs)}
}
