package dayfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/marketprism/marketprism/internal/wal"
)

const partialSuffix = ".partial"

// ErrName is the error for a file name that would leave the folder.
var ErrName = errors.New("dayfile: name is not one below the folder")

// Escape returns a symbol as one part of a file name: bytes other than ASCII letters, digits, - and _ become %XX. Binance lists
// symbols in Chinese, and a hostile listing may have any bytes.
func Escape(symbol string) string {
	var b strings.Builder
	for _, c := range []byte(symbol) {
		if c == '-' || c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// pathBelow returns the path of a file by its name below a folder.
func pathBelow(root, name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\\\x00") || len(part) > 250 {
			return "", fmt.Errorf("%w: %q", ErrName, name)
		}
	}
	return filepath.Join(root, filepath.FromSlash(name)), nil
}

// writeWhole writes a file under another name, syncs it and renames it.
func writeWhole(path string, write func(w io.Writer) error) error {
	f, err := os.OpenFile(path+partialSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = write(f)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path+partialSuffix))
	}
	if err := os.Rename(path+partialSuffix, path); err != nil {
		return err
	}
	return wal.SyncDir(filepath.Dir(path))
}

// removePartial removes the files of a conversion that a crash interrupted.
func removePartial(root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && strings.HasPrefix(e.Name(), "split-") && filepath.Base(filepath.Dir(path)) == logFolder:
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			return filepath.SkipDir
		case !e.IsDir() && strings.HasSuffix(e.Name(), partialSuffix):
			return os.Remove(path)
		}
		return nil
	})
}
