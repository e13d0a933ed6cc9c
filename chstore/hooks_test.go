package chstore_test

import (
	"bytes"
	"log/slog"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
)

// countingHooks returns Hooks with every field set, and the calls by name of the field.
func countingHooks(t *testing.T) (*chstore.Hooks, map[string]int) {
	t.Helper()
	var hooks chstore.Hooks
	calls := make(map[string]int)
	v := reflect.ValueOf(&hooks).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func([]reflect.Value) []reflect.Value {
			calls[name]++
			return nil
		}))
	}
	return &hooks, calls
}

// callAll calls every hook once.
func callAll(hooks *chstore.Hooks) (n int) {
	v := reflect.ValueOf(hooks).Elem()
	for i := range v.NumField() {
		v.Field(i).Call([]reflect.Value{reflect.Zero(v.Field(i).Type().In(0))})
	}
	return v.NumField()
}

func TestTeeHooksCallsAll(t *testing.T) {
	a, callsA := countingHooks(t)
	b, callsB := countingHooks(t)
	n := callAll(chstore.TeeHooks(nil, a, &chstore.Hooks{}, b))
	require.Len(t, callsA, n)
	require.Equal(t, callsA, callsB)
	for name, count := range callsA {
		require.Equal(t, 1, count, name)
	}
}

func TestLogHooksLogsAll(t *testing.T) {
	var out bytes.Buffer
	hooks := chstore.LogHooks(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	n := callAll(hooks)
	require.Equal(t, n, bytes.Count(out.Bytes(), []byte("\n")))
}
