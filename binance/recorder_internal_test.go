package binance

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// Each frame is in one counter, even those being written when the disk failed.
func TestRecorderCountsFramesLostToTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := NewRecorder(RecorderConfig{Dir: filepath.Join(t.TempDir(), "missing")})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			r.frame([]byte(`{"stream":"a","data":{}}`), time.Now())
		}
		r.frame([]byte(`{"id":1}`), time.Now())
		if err := r.Run(t.Context()); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		r.frame([]byte(`{"stream":"a","data":{}}`), time.Now())
		if s := r.Stats(); s.Lines != 0 || s.Lost+s.Skipped != 7 {
			t.Errorf("7 frames came: %+v", s)
		}
	})
}

// Files of the same instant have different names.
func TestRecorderFilesOfOneInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that the clock does not move
		dir := t.TempDir()
		r, err := NewRecorder(RecorderConfig{Dir: dir, MaxBytes: 1, Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			r.frame([]byte(`{"stream":"a","data":{}}`), time.Now())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) != 3 {
			t.Errorf("%d files of 3 lines: %v", len(files), err)
		}
	})
}
