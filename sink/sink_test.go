package sink_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestTeeIsASink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
		var a, b sinktest.Recorder
		return sink.Tee(&a, &b), func(t *testing.T) []marketprism.Record {
			if n, m := len(a.Unique()), len(b.Unique()); n != m {
				t.Errorf("%d records in one sink, %d in the other", n, m)
			}
			return b.Unique()
		}
	})
}

func TestTeeTriesAll(t *testing.T) {
	var order []string
	sinkOf := func(name string, err error) sink.Sink {
		return sink.Func(func(context.Context, []marketprism.Record) error {
			order = append(order, name)
			return err
		})
	}
	errA, errC := errors.New("a"), errors.New("c")
	sinks := []sink.Sink{sinkOf("a", errA), sinkOf("b", nil), sinkOf("c", errC)}
	tee := sink.Tee(sinks...)
	sinks[1] = nil // the Tee has its own list
	err := tee.Write(t.Context(), sinktest.Records(1, 1))
	if !errors.Is(err, errA) || !errors.Is(err, errC) {
		t.Errorf("error %v", err)
	}
	if got := strings.Join(order, ""); got != "abc" {
		t.Errorf("sinks tried: %s", got)
	}
	if err := sink.Tee().Write(t.Context(), sinktest.Records(1, 1)); err != nil {
		t.Errorf("a Tee of nothing: %v", err)
	}
	if sink.Tee().Write(t.Context(), make([]marketprism.Record, 1)) == nil {
		t.Error("a Tee of nothing accepts what is no record")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sink.Tee().Write(ended, sinktest.Records(1, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a Tee of nothing after the end of ctx: %v", err)
	}
}

func TestFilterIsASink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
		var r sinktest.Recorder
		all := sink.Filter(&r, func(*marketprism.Record) bool { return true })
		return all, func(*testing.T) []marketprism.Record { return r.Unique() }
	})
}

func TestFilter(t *testing.T) {
	var r sinktest.Recorder
	trades := sink.Filter(&r, func(r *marketprism.Record) bool { return r.Trade != nil })
	var want []marketprism.Record
	recs := sinktest.Records(1, 200)
	for i := range recs {
		if recs[i].Trade != nil {
			want = append(want, recs[i])
		}
		if err := trades.Write(t.Context(), recs[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	wantSame(t, r.Records(), want)
	if len(r.Writes()) != len(want) {
		t.Errorf("%d Writes for %d records", len(r.Writes()), len(want))
	}
}

// errNaming names refused records.
func errNaming(indexes ...int) error {
	e := &sink.RefusedError{}
	for _, i := range indexes {
		e.Records = append(e.Records, sink.Refusal{Index: i, Err: errPoison})
	}
	return e
}

func TestRefused(t *testing.T) {
	plain := errors.New("x")
	for _, test := range []struct {
		err  error
		want []int
	}{
		{nil, nil},
		{plain, nil},
		{errPoison, nil},
		{errNaming(2), []int{2}},
		{fmt.Errorf("a: %w", errNaming(7, 2, 7)), []int{2, 7}},
		{errors.Join(errNaming(3, 5), errPoison, fmt.Errorf("b: %w", errNaming(4, 5))), []int{3, 4, 5}},
		{errors.Join(errNaming(3), plain), nil}, // the others may be away
		{errNaming(-1, 9, 10, 11), []int{9}},
		{errNaming(), nil},
	} {
		var got []int
		for _, f := range sink.Refused(test.err, 10) {
			got = append(got, f.Index)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%v names %v, want %v", test.err, got, test.want)
		}
	}
	if err := errNaming(1, 2); !errors.Is(err, errPoison) || !sink.Permanent(err) {
		t.Errorf("%v does not wrap its causes", err)
	}
}

// naming is a destination that refuses some records permanently, and names them.
func naming(dst sink.Sink, poison map[string]bool) sink.Sink {
	return sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		var refused []int
		for i := range recs {
			if poison[recs[i].Key()] {
				refused = append(refused, i)
			}
		}
		if refused != nil {
			return errNaming(refused...)
		}
		return dst.Write(ctx, recs)
	})
}

// A Filter and a Tee name the records as their callers know them.
func TestCombinatorsNameRefusedRecords(t *testing.T) {
	recs := sinktest.Records(1, 200)
	poison := [2]map[string]bool{{}, {}}
	var want []int
	for i := range recs {
		if recs[i].Trade != nil && i%3 > 0 {
			poison[i%3-1][recs[i].Key()] = true
			want = append(want, i)
		}
	}
	isTrade := func(r *marketprism.Record) bool { return r.Trade != nil }
	var a, b sinktest.Recorder
	both := sink.Tee(sink.Filter(naming(&a, poison[0]), isTrade), sink.Filter(naming(&b, poison[1]), isTrade))
	var got []int
	for _, f := range sink.Refused(both.Write(t.Context(), recs), len(recs)) {
		got = append(got, f.Index)
	}
	if len(want) < 10 || !slices.Equal(got, want) {
		t.Errorf("refused %v, want %v", got, want)
	}
}

// passing is an error whose method Permanent returns false.
type passing struct{ error }

func (passing) Permanent() bool { return false }

func TestPermanent(t *testing.T) {
	plain := errors.New("x")
	for _, test := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{plain, false},
		{errPoison, true},
		{fmt.Errorf("a: %w", fmt.Errorf("b: %w", errPoison)), true},
		{passing{errPoison}, false},
		{errors.Join(errPoison, errPoison), true},
		{errors.Join(errPoison, plain), false},
		{fmt.Errorf("%w: %w", plain, errPoison), false},
		{fmt.Errorf("a: %w", errors.Join(errPoison, errors.Join(errPoison, plain))), false},
	} {
		if got := sink.Permanent(test.err); got != test.want {
			t.Errorf("%v: %v", test.err, got)
		}
	}
}
