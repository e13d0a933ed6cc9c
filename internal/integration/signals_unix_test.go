//go:build unix

package integration

import "syscall"

const sigstop, sigcont = syscall.SIGSTOP, syscall.SIGCONT
