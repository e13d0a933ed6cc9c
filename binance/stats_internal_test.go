package binance

import (
	"reflect"
	"sync/atomic"
	"testing"
)

// Every counter of a shard is in Stats once, and every count of Stats is a counter: each counter is set to
// another power of two. Fields of other types are no counts.
func TestStatsHaveEveryCounter(t *testing.T) {
	counters := new(counters)
	want := make(map[uint64]string)
	fields := reflect.ValueOf(counters).Elem()
	for i := range fields.NumField() {
		if fields.Field(i).Type() != reflect.TypeFor[atomic.Uint64]() {
			continue
		}
		value := uint64(1) << i
		// The fields are not exported, hence the address.
		(*atomic.Uint64)(fields.Field(i).Addr().UnsafePointer()).Store(value)
		want[value] = fields.Type().Field(i).Name
	}
	var stats Stats
	counters.addTo(&stats)
	counters.addTo(&stats)
	got := reflect.ValueOf(stats)
	for i := range got.NumField() {
		if got.Field(i).Kind() != reflect.Uint64 {
			continue
		}
		name, value := got.Type().Field(i).Name, got.Field(i).Uint()/2
		if want[value] == "" {
			t.Errorf("%s is no counter: %b", name, value)
		}
		delete(want, value)
	}
	for _, name := range want {
		t.Errorf("%s is not in Stats", name)
	}
}
