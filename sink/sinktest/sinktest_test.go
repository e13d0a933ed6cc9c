package sinktest_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestRecordsKeepTheContract(t *testing.T) {
	kinds := make(map[marketprism.Kind]int)
	for seed := range uint64(20) {
		keys := make(map[string]bool)
		books := make(map[marketprism.Instrument]*orderbook.Snapshot) // nil: not known
		recs := sinktest.Records(seed, 1_000)
		for i := range recs {
			r := &recs[i]
			kinds[r.Kind()]++
			if keys[r.Key()] {
				t.Fatalf("seed %d: key %s twice", seed, r.Key())
			}
			keys[r.Key()] = true
			if err := r.Validate(); err != nil {
				t.Fatal(err)
			}
			switch s := books[r.Instrument]; {
			case r.Snapshot != nil:
				books[r.Instrument] = r.Snapshot
				if r.Snapshot.Bids[0].Price >= r.Snapshot.Asks[0].Price {
					t.Fatalf("seed %d: %s is crossed", seed, r.Key())
				}
			case r.Gap != nil:
				books[r.Instrument] = nil
			case r.Update != nil && (s == nil || r.Update.FirstID != s.LastID+1):
				t.Fatalf("seed %d: %s does not follow %+v", seed, r.Key(), s)
			case r.Update != nil:
				books[r.Instrument] = &orderbook.Snapshot{LastID: r.Update.LastID}
			}
		}
	}
	for _, k := range marketprism.Kinds() {
		if kinds[k] < 50 {
			t.Errorf("%d records of kind %v in 20,000", kinds[k], k)
		}
	}
	a, b, c := sinktest.Records(1, 500), sinktest.Records(1, 500), sinktest.Records(2, 500)
	if !slices.EqualFunc(a, b, equal) || slices.EqualFunc(a, c, equal) {
		t.Error("records do not depend on the seed, or not on the seed alone")
	}
}

func equal(a, b marketprism.Record) bool { return sinktest.Equal(&a, &b) }

func TestExtremesAreDistinct(t *testing.T) {
	keys := make(map[string]bool)
	kinds := make(map[marketprism.Kind]bool)
	for _, r := range sinktest.Extremes() {
		if keys[r.Key()] {
			t.Errorf("key %s twice", r.Key())
		}
		keys[r.Key()], kinds[r.Kind()] = true, true
		if r.ReceivedAt.Nanosecond()%1000 != 0 {
			t.Errorf("%s: ReceivedAt %v is not in whole microseconds", r.Key(), r.ReceivedAt)
		}
	}
	if len(kinds) != len(marketprism.Kinds()) {
		t.Errorf("kinds %v", kinds)
	}
}

// Diff must see a change of any field, also of those added after this test was written.
func TestDiffSeesEveryField(t *testing.T) {
	at := time.Unix(1, 0)
	level := []orderbook.Level{{Price: 1, Quantity: 1}}
	for _, a := range []marketprism.Record{
		{Update: &orderbook.Update{Bids: level, Asks: level}},
		{Snapshot: &orderbook.Snapshot{Bids: level, Asks: level}},
		{Gap: &orderbook.Gap{Reason: orderbook.GapStale, Err: errors.New("a")}},
		{Trade: &marketprism.Trade{TradeTime: at}},
		{Ticker: &marketprism.Ticker{TransactTime: at}},
	} {
		same := a.Clone()
		if d := sinktest.Diff(&a, &same); d != "" {
			t.Errorf("a copy differs: %s", d)
		}
		if names := alter(reflect.ValueOf(&a).Elem(), "", func(name string) {
			if sinktest.Equal(&a, &same) != strings.HasPrefix(name, ".Origin") {
				t.Errorf("%v: Equal is wrong after a change of %s", a.Kind(), name)
			}
		}); names < 5 {
			t.Errorf("%v: only %d fields were tried", a.Kind(), names)
		}
		other := marketprism.Record{Gap: &orderbook.Gap{}, Trade: &marketprism.Trade{}}
		if sinktest.Equal(&a, &other) || sinktest.Equal(&other, &a) {
			t.Errorf("%v: equal to a record of other kinds", a.Kind())
		}
	}
}

// alter changes each field within v in turn, calls try, and changes it back.
func alter(v reflect.Value, name string, try func(name string)) (n int) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		return with(v, reflect.ValueOf(v.Interface().(time.Time).Add(time.Nanosecond)), name, try)
	case v.Type() == reflect.TypeFor[error]():
		return with(v, reflect.ValueOf(errors.New("another")), name, try)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			n = alter(v.Elem(), name, try)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			n += alter(v.Field(i), name+"."+v.Type().Field(i).Name, try)
		}
	case reflect.Slice:
		for i := range v.Len() {
			n += alter(v.Index(i), name+"[i]", try)
		}
		n += with(v, reflect.Append(v, v.Index(0)), name, try)
	case reflect.String:
		n = with(v, reflect.ValueOf("changed").Convert(v.Type()), name, try)
	case reflect.Bool:
		n = with(v, reflect.ValueOf(!v.Bool()), name, try)
	case reflect.Int64:
		n = with(v, reflect.ValueOf(v.Int()+1).Convert(v.Type()), name, try)
	default:
		n = with(v, reflect.ValueOf(v.Uint()+1).Convert(v.Type()), name, try)
	}
	return n
}

func with(v, changed reflect.Value, name string, try func(string)) int {
	old := reflect.New(v.Type()).Elem()
	old.Set(v)
	v.Set(changed)
	try(name)
	v.Set(old)
	return 1
}

func TestRecorderWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r sinktest.Recorder
		recs := sinktest.Records(1, 10)
		for _, n := range []int{4, 10} {
			go func() {
				if got, err := r.Wait(t.Context(), n); err != nil || len(got) < n {
					t.Errorf("Wait(%d): %d records, %v", n, len(got), err)
				}
			}()
		}
		for i := range recs {
			synctest.Wait()
			if err := r.Write(t.Context(), recs[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := r.Wait(ctx, 11); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait for too many: %v", err)
		}
		r.Reset()
		if len(r.Records()) != 0 || len(r.Writes()) != 0 {
			t.Error("Reset left something")
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			f      sinktest.Faults
			r      sinktest.Recorder
			errOne = errors.New("one")
			errTwo = errors.New("two")
		)
		s := f.Wrap(&r)
		recs := sinktest.Records(1, 10)
		f.FailNext(2, errOne)
		f.FailAfter(3, errTwo)
		f.FailAfter(99, errTwo)
		for i, want := range []struct {
			err  error
			kept int
		}{{errOne, 0}, {errOne, 0}, {errTwo, 3}, {errTwo, 13}, {nil, 23}} {
			if err := s.Write(t.Context(), recs); err != want.err || len(r.Records()) != want.kept {
				t.Errorf("Write %d: %v with %d records kept, want %v with %d", i, err, len(r.Records()), want.err, want.kept)
			}
		}

		release := f.Hold()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Write(ctx, recs); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("held Write: %v", err)
		}
		done := make(chan error)
		go func() { done <- s.Write(t.Context(), recs) }()
		synctest.Wait()
		release()
		release()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if all, failed := f.Writes(); all != 7 || failed != 4 {
			t.Errorf("%d Writes, %d failed", all, failed)
		}
	})
}
