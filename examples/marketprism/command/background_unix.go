//go:build unix

package command

import (
	"os/signal"
	"syscall"
)

// ignoreBackground makes reading the terminal an error for a program in the background, which would be stopped otherwise.
func ignoreBackground() { signal.Ignore(syscall.SIGTTIN) }
