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

// Every frame is in one counter, also those that were in hand when the disk failed.
func TestRecorderCountsWhatADiskErrorCosts(t *testing.T) {
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

// Two files of one instant have two names.
func TestRecorderFilesOfOneInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock stands still
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
		if err := r.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) != 3 {
			t.Errorf("%d files of 3 lines: %v", len(files), err)
		}
	})
}
