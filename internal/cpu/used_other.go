//go:build !unix

package cpu

// Used is not known on this system: it is 0 at all times.
func Used() Time { return Time{} }
