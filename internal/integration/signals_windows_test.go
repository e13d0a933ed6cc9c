package integration

import "syscall"

// There are no such signals, and the test that sends them is left out.
const sigstop, sigcont = syscall.SIGKILL, syscall.SIGKILL
