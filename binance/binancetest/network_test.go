package binancetest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestPipeIsBuffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipe()
		want := bytes.Repeat([]byte("0123456789abcdef"), 3*pipeBuffer/16)
		written := make(chan int)
		go func() {
			n, err := a.Write(want[:pipeBuffer])
			if err != nil {
				t.Error(err)
			}
			written <- n
			if _, err := a.Write(want[pipeBuffer:]); err != nil {
				t.Error(err)
			}
			_ = a.Close()
		}()
		if n := <-written; n != pipeBuffer { // before the first read
			t.Errorf("wrote %d", n)
		}
		synctest.Wait() // until the second write is durably blocked
		got, err := io.ReadAll(io.LimitReader(b, int64(len(want))))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestPipeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipe()
		start := time.Now()
		buf := make([]byte, 2*pipeBuffer)

		must(t, a.SetReadDeadline(start.Add(time.Second)))
		_, err := a.Read(buf)
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("read: %v after %v", err, time.Since(start))
		}
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v is no timeout", err)
		}

		must(t, a.SetWriteDeadline(start.Add(2*time.Second)))
		n, err := a.Write(buf)
		if n != pipeBuffer || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 2*time.Second {
			t.Errorf("write: %d, %v after %v", n, err, time.Since(start))
		}

		must(t, a.SetDeadline(time.Time{})) // no deadline
		if _, err := b.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if n, err := a.Read(buf); n != 1 || err != nil {
			t.Errorf("read: %d, %v", n, err)
		}

		// Setting a deadline wakes a blocked read.
		go func() {
			time.Sleep(time.Second)
			_ = a.SetReadDeadline(time.Unix(1, 0))
		}()
		if _, err := a.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("read: %v after %v", err, time.Since(start))
		}
	})
}

func TestPipeClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipe()
		go func() {
			time.Sleep(time.Second)
			_ = a.Close()
		}()
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read beside a closed peer: %v", err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("write to a closed peer: %v", err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read from a closed end: %v", err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write to a closed end: %v", err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
