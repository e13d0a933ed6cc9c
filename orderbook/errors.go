package orderbook

import (
	"errors"
	"fmt"
)

// ErrGapReason is the error of ParseGapReason for an unknown name.
var ErrGapReason = errors.New("orderbook: unknown gap reason")

// A SequenceError tells which update id was wanted and which came. For contiguous ids Want is the
// first id that had to be covered and Got the update's FirstID; for linked ids they are the book's
// id and the update's PrevLastID.
type SequenceError struct {
	Want, Got int64
}

func (e *SequenceError) Error() string {
	return fmt.Sprintf("orderbook: update id %d wanted, %d came", e.Want, e.Got)
}
