package binance

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// write writes one frame of the outbox, and returns its method and streams.
func (o *outbox) write(t *testing.T, now time.Time) (method string, streams []string) {
	t.Helper()
	frame, err := o.next()
	if err != nil {
		t.Fatal(err)
	}
	o.written(now)
	if frame == nil {
		return "", nil
	}
	var r struct {
		Method string
		Params []string
		ID     int64
	}
	if err := json.Unmarshal(frame, &r); err != nil || len(frame) > maxRequest || r.ID != o.lastID {
		t.Fatalf("%v: %d bytes, id %d of %d: %s", err, len(frame), r.ID, o.lastID, frame)
	}
	return r.Method, r.Params
}

// ack acknowledges the request with that id.
func (o *outbox) ack(id int64) []string { return o.answered(RequestID{Number: id}, time.Now()) }

func TestAcks(t *testing.T) {
	o := newOutbox(10, time.Second)
	now := time.Unix(1000, 0)
	o.subscribe([]string{"a"})
	o.write(t, now)
	o.subscribe([]string{"b"})
	o.write(t, now)
	if streams := o.answered(RequestID{Text: "1"}, now); streams != nil {
		t.Error("a text id was taken for a number")
	}
	if streams := o.answered(RequestID{Number: 2}, now.Add(900*time.Millisecond)); !slices.Equal(streams, []string{"b"}) || o.settled() {
		t.Error(streams, o.settled())
	}
	if due := o.due(now); !due.Equal(now.Add(1900*time.Millisecond)) || !errors.Is(o.overdue(), ErrNoAck) {
		t.Error(due, o.overdue())
	}
	var refused *SubscribeError
	var venue *StreamError
	_, err := o.refused(RequestID{Number: 99}, &StreamError{Code: 2, Message: "invalid"}, now)
	if !errors.As(err, &refused) || refused.Streams != nil || !errors.As(err, &venue) || venue.Code != 2 {
		t.Error(err)
	}
	if _, err := o.refused(RequestID{Null: true}, venue, now); !errors.As(err, &refused) || refused.Streams != nil {
		t.Error(err)
	}
	if streams := o.ack(1); !slices.Equal(streams, []string{"a"}) || !o.settled() || !o.due(now).IsZero() {
		t.Error(streams, o.settled(), o.due(now))
	}
}

// A refused request is asked for again in halves, until one name is refused alone.
func TestRefusedRequestIsAskedInHalves(t *testing.T) {
	o := newOutbox(2000, time.Second)
	now := time.Unix(1000, 0)
	cause := &StreamError{Code: 2, Message: "invalid"}
	o.subscribe([]string{"a", "b", "c", "bad", "e"})
	o.write(t, now)
	var groups [][]string
	refuse := func(id int64, want string) {
		t.Helper()
		if name, err := o.refused(RequestID{Number: id}, cause, now); err != nil || name != want {
			t.Errorf("refused %d: %q, %v", id, name, err)
		}
	}
	next := func() {
		_, names := o.write(t, now)
		groups = append(groups, names)
	}
	refuse(1, "")
	o.subscribe([]string{"new"})
	next() // a b c
	o.unsubscribe([]string{"e"})
	next() // bad
	o.ack(2)
	refuse(3, "bad")
	next() // new
	o.ack(4)
	if fmt.Sprint(groups) != "[[a b c] [bad] [new]]" || !o.settled() || o.carried["bad"] || o.carried["e"] {
		t.Error(groups, o.settled(), o.carried)
	}
	o.retry("bad")
	o.subscribe([]string{"f"})
	next()
	o.unsubscribe([]string{"bad"}) // while it is asked for
	refuse(5, "")
	next()
	o.ack(6)
	if fmt.Sprint(groups[3:]) != "[[bad] [f]]" || !o.settled() || o.waiting() {
		t.Error(groups[3:], o.settled(), o.waiting())
	}
	if len(o.apart) != 0 || len(o.awaited) != 0 || len(o.requests) != 0 {
		t.Errorf("left: %+v", o)
	}

	// If nothing at all is accepted, it is not the names.
	o = newOutbox(2000, time.Second)
	names := make([]string, 100)
	for i := range names {
		names[i] = fmt.Sprint("s", i)
	}
	o.subscribe(names)
	for id := int64(1); ; id++ {
		o.write(t, now)
		_, err := o.refused(RequestID{Number: id}, cause, now)
		var refused *SubscribeError
		if id > maxRefusals && errors.As(err, &refused) && len(refused.Streams) > 0 {
			return
		}
		if err != nil || id > maxRefusals {
			t.Fatal(id, err)
		}
	}
}

// The time for an answer begins when the request has been written, however long it waits before, and
// starts over with every answer, also to an unsubscription.
func TestAckClock(t *testing.T) {
	o := newOutbox(2000, time.Second)
	now := time.Unix(1000, 0)
	o.subscribe([]string{"a"})
	o.write(t, now)
	o.ack(1)
	o.unsubscribe([]string{"a"})
	o.subscribe([]string{"b"})
	later := now.Add(time.Hour)
	if due := o.due(later); !due.Equal(later.Add(time.Second)) {
		t.Errorf("before it is written, due at %v", due)
	}
	if method, _ := o.write(t, later); method != "UNSUBSCRIBE" {
		t.Fatal(method)
	}
	if _, err := o.next(); err != nil {
		t.Fatal(err)
	}
	if due := o.due(later); !due.Equal(later.Add(time.Second)) {
		t.Errorf("while it is being written, due at %v", due)
	}
	o.written(later.Add(5 * time.Second))
	if due := o.due(later); !due.Equal(later.Add(6 * time.Second)) {
		t.Errorf("once it is written, due at %v", due)
	}
	o.answered(RequestID{Number: 2}, later.Add(5500*time.Millisecond))
	if due := o.due(later); !due.Equal(later.Add(6500 * time.Millisecond)) {
		t.Errorf("after another answer, due at %v", due)
	}
}

func TestOutboxJoinsNames(t *testing.T) {
	o := newOutbox(1024, time.Second)
	var all []string
	for i := range 1000 {
		all = append(all, fmt.Sprintf("t%04dusdt@depth@100ms", i))
	}
	o.subscribe(all)
	frames, carried := 0, []string(nil)
	for ; o.waiting(); frames++ {
		_, streams := o.write(t, time.Now())
		carried = append(carried, streams...)
	}
	if frames != 7 || !slices.Equal(carried, all) {
		t.Errorf("%d frames for 1,000 names", frames)
	}
	for _, name := range all[:900] {
		o.unsubscribe([]string{name})
	}
	for i := range 40 {
		o.subscribe([]string{fmt.Sprint("new", i)})
	}
	var methods []string
	for o.waiting() {
		method, streams := o.write(t, time.Now())
		methods = append(methods, fmt.Sprint(method[:1], len(streams)))
	}
	if got := strings.Join(methods, " "); got != "U164 S40 U164 U164 U164 U164 U80" {
		t.Errorf("frames: %s", got)
	}
	if len(o.carried) != 140 {
		t.Errorf("%d streams", len(o.carried))
	}
}

// Without room, subscriptions wait for unsubscriptions, and neither starves the other.
func TestOutboxKeepsItsBound(t *testing.T) {
	o := newOutbox(3, time.Second)
	o.subscribe([]string{"a", "b", "c"})
	o.write(t, time.Now())
	var got []string
	for _, change := range [...][2]string{{"a", "d"}, {"b", "e"}, {"c", "f"}, {"d", "g"}, {"e", "h"}, {"", ""}} {
		if change[0] != "" {
			o.unsubscribe(change[:1])
			o.subscribe(change[1:])
		}
		method, streams := o.write(t, time.Now())
		got = append(got, fmt.Sprint(method[:1], streams))
		if len(o.carried) > 3 {
			t.Errorf("%d streams", len(o.carried))
		}
	}
	if want := []string{"U[a]", "S[d]", "U[b c]", "S[e f]", "U[d e]", "S[g h]"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// What comes and goes before a frame could be written is in no frame.
func TestOutboxCancels(t *testing.T) {
	o := newOutbox(10, time.Second)
	now := time.Now()
	step := func(want string, kept ...string) {
		t.Helper()
		method, streams := o.write(t, now)
		if got := strings.TrimSpace(method + " " + strings.Join(streams, " ")); got != want {
			t.Errorf("wrote %q, want %q", got, want)
		}
	}
	subscribe := func(name string, want bool) {
		t.Helper()
		if kept := o.subscribe([]string{name}); len(kept) == 1 != want {
			t.Errorf("%s was carried: %v", name, kept)
		}
	}
	subscribe("a", false)
	o.unsubscribe([]string{"a"})
	step("")
	subscribe("a", false)
	step("SUBSCRIBE a")
	// Removed and added again while its subscription is on its way: the answer to that counts.
	o.unsubscribe([]string{"a"})
	subscribe("a", false)
	if got := o.ack(1); !slices.Equal(got, []string{"a"}) {
		t.Errorf("acknowledged: %v", got)
	}
	step("")
	// The same after the answer: it is carried without one.
	o.unsubscribe([]string{"a"})
	subscribe("a", true)
	step("")
	// The answer to a subscription that was taken back since says nothing.
	subscribe("b", false)
	step("SUBSCRIBE b")
	o.unsubscribe([]string{"b"})
	step("UNSUBSCRIBE b")
	subscribe("b", false)
	step("SUBSCRIBE b")
	if got := o.ack(2); got != nil || o.settled() {
		t.Errorf("acknowledged: %v", got)
	}
	if got := o.ack(4); !slices.Equal(got, []string{"b"}) || !o.settled() {
		t.Errorf("acknowledged: %v", got)
	}
	// A renewed stream is written both ways, also if it goes and comes again meanwhile.
	o.renew("a")
	o.unsubscribe([]string{"a"})
	subscribe("a", false)
	step("UNSUBSCRIBE a")
	step("SUBSCRIBE a")
	// A repetition is written as it is, and taken back with the stream.
	subscribe("a", false)
	step("SUBSCRIBE a")
	subscribe("a", false)
	o.unsubscribe([]string{"a"})
	step("UNSUBSCRIBE a")
	step("")
}
