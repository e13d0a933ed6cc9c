// Package short leaves slow tests out of go test -short, so that the check of a change takes seconds.
package short

import "testing"

// Skip skips a test that takes more than half a second, if -short is set.
func Skip(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out with -short: takes more than half a second")
	}
}
