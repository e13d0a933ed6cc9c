package dayfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/marketprism/marketprism/internal/wal"
)

const partialSuffix = ".partial"

// A File is one that a Format creates. It gets its name when all files of the day are complete.
type File struct {
	*bufio.Writer
	Rows int64 // for the manifest

	file *os.File
	root string
	name string // below the root, with slashes
	path string
}

// ErrName is the error for a file name that would leave the folder.
var ErrName = errors.New("dayfile: name is not one below the folder")

// Create creates a file by its name below the Writer's folder, with slashes, and the folders on the way. It has its
// name once the day is converted, and replaces the file that had it. A name that leaves the folder is ErrName: Escape makes a
// symbol one part of a name.
func (d *Day) Create(name string) (*File, error) {
	path, err := pathBelow(d.root, name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path+partialSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	file := &File{Writer: bufio.NewWriterSize(f, 256<<10), file: f, root: d.root, name: name, path: path}
	d.files = append(d.files, file)
	return file, nil
}

// Alias makes the folder alias another name of the folder name, both below the Writer's, by a symbolic link. It does nothing if
// alias is there.
func (d *Day) Alias(alias, name string) error {
	path, err := pathBelow(d.root, alias)
	if err != nil {
		return err
	}
	target, err := pathBelow(d.root, name)
	if err != nil {
		return err
	}
	target, err = filepath.Rel(filepath.Dir(path), target)
	if err != nil {
		return err
	}
	if err := os.Symlink(target, path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
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

// Rename changes the name that the file will have, within its folder.
func (f *File) Rename(name string) error {
	path, err := pathBelow(f.root, name)
	if err != nil {
		return err
	}
	if filepath.Dir(path) != filepath.Dir(f.path) {
		return fmt.Errorf("%w: %q is in another folder", ErrName, name)
	}
	if err := os.Rename(f.path+partialSuffix, path+partialSuffix); err != nil {
		return err
	}
	f.name, f.path = name, path
	return nil
}

// WriteAt writes at an offset, for a header that is known at the end only.
func (f *File) WriteAt(b []byte, off int64) (int, error) {
	if err := f.Flush(); err != nil {
		return 0, err
	}
	return f.file.WriteAt(b, off)
}

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

// finish flushes and syncs a file that still has its partial name.
func (f *File) finish() (size int64, err error) {
	if err := f.Flush(); err != nil {
		return 0, err
	}
	if err := f.file.Sync(); err != nil {
		return 0, err
	}
	info, err := f.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), f.file.Close()
}

// discard removes the files of a conversion that failed.
func (d *Day) discard() error {
	var errs []error
	for _, f := range d.files {
		f.file.Close() // it may be closed already
		if err := os.Remove(f.path + partialSuffix); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	d.files = nil
	return errors.Join(errs...)
}

// commit gives the files their names and writes the manifest.
func (d *Day) commit(format string, damaged int) (*Manifest, error) {
	m, err := d.manifest(format, damaged)
	if err != nil {
		return nil, err
	}
	for _, f := range d.files {
		size, err := f.finish()
		if err != nil {
			return nil, err
		}
		m.Files = append(m.Files, FileInfo{Name: f.name, Bytes: size, Rows: f.Rows})
	}
	for _, f := range d.files {
		if err := os.Rename(f.path+partialSuffix, f.path); err != nil {
			return nil, err
		}
		if err := wal.SyncDir(filepath.Dir(f.path)); err != nil {
			return nil, err
		}
	}
	d.files = nil
	return m, errors.Join(d.removeOld(m), m.store(d.root))
}

// removeOld removes the files that an earlier conversion of the day made under other names.
func (d *Day) removeOld(m *Manifest) error {
	old, err := ReadManifest(d.root, d.Instrument, d.Date)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || old.Format != m.Format {
		return err
	}
	var errs []error
	for _, f := range old.Files {
		if slices.ContainsFunc(m.Files, func(g FileInfo) bool { return g.Name == f.Name }) {
			continue
		}
		path, err := pathBelow(d.root, f.Name)
		if err == nil {
			err = os.Remove(path)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
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
