//go:build !unix

package command

// ignoreBackground does nothing: no program in the background is stopped here.
func ignoreBackground() {}
