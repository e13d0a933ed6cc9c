// Package short leaves slow tests out of go test -short, so that the check of a change takes seconds.
package short

import (
	"os"
	"testing"
)

// WithoutEnv is the environment variable that leaves out what calls SkipWhole if it is "whole".
const WithoutEnv = "TEST_WITHOUT"

// Skip skips a test that takes more than half a second, if -short is set.
func Skip(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out with -short: takes more than half a second")
	}
}

// SkipWhole skips a test of a whole exchange, of hundreds of books or minutes of virtual time, if -short is set or
// WithoutEnv is "whole". With the race detector it takes too long for .ci/run, which runs it without.
func SkipWhole(t testing.TB) {
	t.Helper()
	Skip(t)
	if os.Getenv(WithoutEnv) == "whole" {
		t.Skip("left out: takes too long with the race detector")
	}
}
