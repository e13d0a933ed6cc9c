package sink_test

import (
	"bytes"
	"errors"
	"log/slog"
	"reflect"
	"testing"

	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// TeeSpillHooks must call every hook of every side, also those added after this test was written.
func TestTeeSpillHooksForgetsNothing(t *testing.T) {
	calls := make(map[string]int)
	var counting sink.SpillHooks
	v := reflect.ValueOf(&counting).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func([]reflect.Value) []reflect.Value {
			calls[name]++
			return nil
		}))
	}
	tee := reflect.ValueOf(sink.TeeSpillHooks(&counting, nil, &sink.SpillHooks{}, &counting)).Elem()
	for i := range tee.NumField() {
		name, hook := tee.Type().Field(i).Name, tee.Field(i)
		if hook.IsNil() {
			t.Errorf("%s is forgotten", name)
			continue
		}
		hook.Call([]reflect.Value{reflect.Zero(hook.Type().In(0))})
		if calls[name] != 2 {
			t.Errorf("%s called %d sides, want 2", name, calls[name])
		}
	}
}

func TestLogSpillHooksForgetsNothing(t *testing.T) {
	var out bytes.Buffer
	level := &slog.HandlerOptions{Level: slog.LevelDebug}
	hooks := reflect.ValueOf(sink.LogSpillHooks(slog.New(slog.NewTextHandler(&out, level)))).Elem()
	rec := sinktest.Records(1, 1)[0]
	for i := range hooks.NumField() {
		name, hook := hooks.Type().Field(i).Name, hooks.Field(i)
		if hook.IsNil() {
			t.Errorf("%s is forgotten", name)
			continue
		}
		info := reflect.New(hook.Type().In(0)).Elem()
		for j := range info.NumField() {
			switch field := info.Field(j); field.Interface().(type) {
			case *sink.CorruptError:
				field.Set(reflect.ValueOf(&sink.CorruptError{Err: errors.New("x")}))
			case *sink.DiskError:
				field.Set(reflect.ValueOf(&sink.DiskError{Err: errors.New("x")}))
			case error:
				field.Set(reflect.ValueOf(errors.New("x")))
			}
		}
		if record := info.FieldByName("Record"); record.IsValid() {
			record.Set(reflect.ValueOf(&rec))
		}
		out.Reset()
		hook.Call([]reflect.Value{info})
		if out.Len() == 0 {
			t.Errorf("%s logs nothing", name)
		}
	}
}
