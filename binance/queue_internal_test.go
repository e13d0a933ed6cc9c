package binance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func testQueue(maxFrames, maxBytes int) *frameQueue {
	return newFrameQueue(maxFrames, maxBytes, make(chan struct{}, 1))
}

// read puts a frame where Stream.Read does.
func (q *frameQueue) read(data string) []byte { return append(q.space(), data...) }

func TestQueueDoesNotAllocate(t *testing.T) {
	q := testQueue(8, 1<<20)
	text := string(make([]byte, 1400))
	var fr frame
	pass := func() {
		for range 3 {
			if !q.push(q.read(text), time.Time{}, false) {
				t.Fatal("full")
			}
		}
		for range 3 {
			if ok, err := q.pop(&fr); !ok || err != nil || len(fr.data) != len(text) {
				t.Fatal(ok, err)
			}
		}
	}
	for range 100 {
		pass()
	}
	if n := testing.AllocsPerRun(1000, pass); n != 0 {
		t.Errorf("%v allocations for three frames", n)
	}
}

func TestQueueKeepsDropsInTheirPlace(t *testing.T) {
	q := testQueue(3, 10)
	one, two := &subscription{name: "1"}, &subscription{name: "2"}
	push := func(text string, want bool) {
		t.Helper()
		if ok := q.push([]byte(text), time.Time{}, false); ok != want {
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
	q.drop(one, 1, true)
	push("23456", true)
	push("", true)
	push("", false) // more than 3 frames
	q.drop(two, 1, true)
	q.drop(two, 1, false)
	q.drop(nil, 1, false)
	pop("12345", nil)
	push("a frame of many bytes", false)
	pop("23456", drops{one: {1, true}})
	pop("", nil)
	pop("", drops{two: {2, false}, nil: {1, false}}) // no frame follows the drops
	if ok, err := q.pop(&fr); ok || err != nil {
		t.Error(ok, err)
	}
	push("12345", true)
	push("12345", true)
	push("1", false)
	if !q.push([]byte("1"), time.Time{}, true) {
		t.Error("the reserve is full")
	}
	q.drop(one, 1, false)
	pop("12345", nil)
	pop("12345", nil)
	pop("1", nil)
	pop("", drops{one: {1, false}})
	push("a frame of many bytes", true) // alone it may have any length
	ended := errors.New("ended")
	q.close(ended)
	pop("a frame of many bytes", nil)
	if ok, err := q.pop(&fr); ok || err != ended {
		t.Error(ok, err)
	}
}

// Frames of all lengths come out as they went in, whatever the reader is ahead, and no more memory than
// that of keptBlocks stays when all have.
func TestQueueGivesMemoryBack(t *testing.T) {
	const maxFrames, maxBytes = 5000, 4 << 20
	q := testQueue(maxFrames, maxBytes)
	frameOf := func(i int) []byte {
		length := []int{0, 1, 90, 300, 1400, 7000, blockSpare + 1, 20_000, blockSize + 1, 200_000}[i*i%37%10]
		return bytes.Repeat([]byte{byte(i)}, length)
	}
	memory := func() (n int) {
		for b := q.head; b != nil; b = b.next {
			n += cap(b.data)
			for _, f := range b.frames {
				if cap(f.data) > 0 && len(f.data) > blockSpare {
					n += len(f.data)
				}
			}
		}
		for _, b := range q.free {
			n += cap(b.data)
		}
		return n
	}
	var fr frame
	next, got, most := 0, 0, 0
	pop := func() {
		if ok, err := q.pop(&fr); !ok || err != nil || !slices.Equal(fr.data, frameOf(got)) {
			t.Fatalf("frame %d is of %d bytes, %v, %v", got, len(fr.data), ok, err)
		}
		got++
	}
	for range 3 {
		for q.push(append(q.space(), frameOf(next)...), time.Now(), false) {
			next++
			if next%3 == 0 {
				pop()
			}
			most = max(most, memory())
		}
		if q.length() > maxFrames || q.bytes > maxBytes || q.bytes < maxBytes/2 {
			t.Errorf("%d frames of %d bytes are queued", q.length(), q.bytes)
		}
		for q.bytes > maxBytes/5*4 {
			pop()
		}
		select {
		case <-q.room:
			t.Error("there is room too early")
		default:
		}
		for q.length() > 0 {
			pop()
		}
		select {
		case <-q.room:
		default:
			t.Error("the room was not reported")
		}
	}
	if limit := maxBytes + maxBytes/2; most > limit {
		t.Errorf("%d bytes of memory for %d", most, maxBytes)
	}
	if n, limit := memory(), (keptBlocks+1)*blockSize; n > limit || q.bytes != 0 {
		t.Errorf("%d bytes of memory are kept for %d bytes, want at most %d", n, q.bytes, limit)
	}
}

func TestEventTimeOfAFrame(t *testing.T) {
	for frame, want := range map[string]int64{
		`{"stream":"a@depth","data":{"e":"depthUpdate","E":1770000000001,"s":"A"}}`: 1770000000001000,
		`{"e":"trade","E":1770000000001002,"s":"A"}`:                                1770000000001002,
		`{"result":null,"id":1}`:                                                    0,
		`{"u":1,"s":"A","b":"1","E":`:                                               0,
		`{"E":-5}`:                                                                  0,
		`{"E":9999999999999999999999999}`:                                           9999999999999999,
		"\x1a\x00\x13\x27\x01\x00\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00":          513,
		"\x1a\x00": 0,
		"":         0,
	} {
		if at, ok := eventTime([]byte(frame)); ok != (want != 0) || ok && at.UnixMicro() != want {
			t.Errorf("%q is of %v, %v", frame, at, ok)
		}
	}
}
