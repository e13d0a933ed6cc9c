package binance

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestQueueDoesNotAllocate(t *testing.T) {
	q := newFrameQueue(8, 1<<20, make(chan struct{}, 1))
	buf := make([]byte, 100)
	var fr frame
	pass := func() {
		buf, _ = q.push(buf[:cap(buf)], time.Time{})
		if ok, err := q.pop(&fr); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if buf == nil {
			buf = make([]byte, 100)
		}
	}
	for range 3 {
		pass()
	}
	if n := testing.AllocsPerRun(100, pass); n != 0 {
		t.Errorf("%v allocations for a frame", n)
	}
}

func TestQueueKeepsDropsInTheirPlace(t *testing.T) {
	q := newFrameQueue(3, 10, make(chan struct{}, 1))
	one, two := &subscription{name: "1"}, &subscription{name: "2"}
	push := func(text string, want bool) {
		t.Helper()
		if _, ok := q.push([]byte(text), time.Time{}); ok != want {
			t.Errorf("push %q = %v", text, ok)
		}
	}
	var fr frame
	pop := func(text string, lost drops) {
		t.Helper()
		ok, err := q.pop(&fr)
		if !ok || err != nil || string(fr.data) != text || fmt.Sprint(fr.drops) != fmt.Sprint(lost) {
			t.Errorf("pop = %q, lost %v, %v, %v", fr.data, fr.drops, ok, err)
		}
	}
	push("12345", true)
	push("123456", false) // more than 10 bytes
	q.drop(one)
	push("23456", true)
	push("", true)
	push("", false) // more than 3 frames
	q.drop(two)
	q.drop(two)
	q.drop(nil)
	pop("12345", nil)
	push("a frame of many bytes", false)
	pop("23456", drops{one: 1})
	pop("", nil)
	pop("", drops{two: 2, nil: 1}) // no frame follows the drops
	if ok, err := q.pop(&fr); ok || err != nil {
		t.Error(ok, err)
	}
	push("12345", true)
	push("12345", true)
	push("1", false)
	q.drop(one)
	pop("12345", nil)
	pop("12345", nil)
	pop("", drops{one: 1})
	push("a frame of many bytes", true) // alone it may have any length
	ended := errors.New("ended")
	q.close(ended)
	pop("a frame of many bytes", nil)
	if ok, err := q.pop(&fr); ok || err != ended {
		t.Error(ok, err)
	}
}
