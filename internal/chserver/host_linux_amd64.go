package chserver

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
)

// queryResult is what query_stable_v2 returns, chdb's struct local_result_v2.
type queryResult struct {
	buf       *byte
	length    uintptr
	vector    unsafe.Pointer
	elapsed   float64
	rowsRead  uint64
	bytesRead uint64
	err       *byte // a C string, or nil
}

// serve runs clickhouse-local with these arguments in this process until its standard input
// ends, and returns the exit code.
func serve(library string, args []string) int {
	runtime.LockOSThread()
	syscall.Umask(0o077) // files are this user's alone
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot open the ClickHouse engine: %v\n", err)
		return 1
	}
	var query func(argc int32, argv unsafe.Pointer) unsafe.Pointer
	purego.RegisterLibFunc(&query, handle, "query_stable_v2")

	// C strings in C's argv, whose last entry is nil. The library keeps the pointers, so they stay pinned.
	var pins runtime.Pinner
	argv := make([]*byte, len(args)+1)
	for i, arg := range args {
		argv[i] = unsafe.SliceData(append([]byte(arg), 0)) // #nosec G103 -- arguments of a C function
		pins.Pin(argv[i])
	}
	pins.Pin(&argv[0])

	result := (*queryResult)(query(int32(len(args)), unsafe.Pointer(&argv[0]))) // #nosec G103 -- a call of a C function
	runtime.KeepAlive(&pins)
	if result == nil {
		return 1
	}
	if result.err != nil {
		fmt.Fprintln(os.Stderr, cString(result.err))
		return 1
	}
	return 0
}

func cString(p *byte) string {
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 { // #nosec G103 -- a C string
		n++
	}
	return string(unsafe.Slice(p, n)) // #nosec G103 -- a C string
}
