package natsbus

import (
	"errors"

	"github.com/marketprism/marketprism"
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

// ClassifyError is how a Consumer tells failures apart unless it is configured otherwise. A Refusal is
// an error that has in its tree one with the method
//
//	Permanent() bool
//
// that returns true; its method RecordKey() string, if it has one, gives the Key. Of errors that are
// joined each one has to be a Refusal, because a sink of several may have failed in one for a record
// and in another for an outage. Everything else is an Outage.
func ClassifyError(err error) Failure {
	for err != nil {
		if refusal, ok := err.(interface{ Permanent() bool }); ok {
			if !refusal.Permanent() {
				return Failure{}
			}
			failure := Failure{Class: Refusal}
			if named, ok := err.(interface{ RecordKey() string }); ok {
				failure.Key = named.RecordKey()
			}
			return failure
		}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			return classifyAll(joined.Unwrap())
		}
		err = errors.Unwrap(err)
	}
	return Failure{}
}

func classifyAll(errs []error) Failure {
	var first Failure
	for i, err := range errs {
		failure := ClassifyError(err)
		if failure.Class != Refusal {
			return Failure{}
		}
		if i == 0 {
			first = failure
		}
	}
	return first
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
