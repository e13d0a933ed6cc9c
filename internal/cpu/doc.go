// Package cpu tells how much CPU time this process has used: on a machine that does other work too, the
// steady measure of what something costs.
package cpu

import "time"

// A Time is what was used in user and in system mode.
type Time struct{ User, System time.Duration }

// Minus is what came between b and t.
func (t Time) Minus(b Time) Time { return Time{t.User - b.User, t.System - b.System} }

// Plus is both together.
func (t Time) Plus(b Time) Time { return Time{t.User + b.User, t.System + b.System} }

// Total is user and system together.
func (t Time) Total() time.Duration { return t.User + t.System }
