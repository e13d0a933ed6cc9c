package chserver

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
)

// logTailBytes bounds what logTail reads.
const logTailBytes = 32 << 10

// stackFrame matches the lines of a stack trace. The library holds no symbols, so they say nothing.
var stackFrame = regexp.MustCompile(`(?m)^\d+\. .* @ 0x[0-9a-f]+\n`)

// logTail returns the last whole lines of the log in a server's folder, or why it cannot be read.
func logTail(dir string) string {
	tail, err := readTail(logPath(dir), logTailBytes)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(bytes.TrimSpace(stackFrame.ReplaceAll(tail, nil)))
}

// readTail reads the last limit bytes of a file, from the first line that begins within them.
func readTail(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	start := max(0, info.Size()-limit)
	tail, err := io.ReadAll(io.NewSectionReader(file, start, limit))
	if err != nil {
		return nil, err
	}
	if start > 0 {
		if _, rest, found := bytes.Cut(tail, []byte("\n")); found {
			tail = rest
		}
	}
	return tail, nil
}
