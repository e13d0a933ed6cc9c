package dayfile

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/marketprism/marketprism/internal/wal"
)

// A File is one that a Format creates. It gets its name when all files of the day are complete.
type File struct {
	*bufio.Writer
	Rows int64 // for the manifest

	file *os.File
	root string
	name string // below the root, with slashes
	path string
}

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

// manifest reads what the Format has left unread, and describes the day.
func (d *Day) manifest(format string, damaged int) (*Manifest, error) {
	if d.book == nil {
		for _, err := range d.Book() {
			if err != nil {
				return nil, err
			}
		}
	}
	if !d.trades.whole {
		if err := drain(d.Trades()); err != nil {
			return nil, err
		}
	}
	if !d.tickers.whole {
		if err := drain(d.Tickers()); err != nil {
			return nil, err
		}
	}
	d.end.Seq = max(d.end.Seq, d.trades.seq, d.tickers.seq)
	b := d.book
	return &Manifest{
		Version: 1, Format: format,
		Exchange: d.Instrument.Exchange, Market: string(d.Instrument.Market), Symbol: d.Instrument.Symbol,
		Date:  d.Date.Format(time.DateOnly),
		Spans: b.spans, Gaps: b.gaps, Updates: b.updates, Snapshots: b.snapshots,
		Trades: d.trades.rows, Aggregates: d.trades.aggregates, Tickers: d.tickers.rows,
		FirstID: b.firstID, LastID: b.lastID, Seq: d.end.Seq,
		Copies: b.copies + d.trades.copies + d.tickers.copies, Outside: b.outside, Damaged: damaged,
		BookSHA256: b.sha256, BookCRC32C: b.crc32c,
	}, nil
}
