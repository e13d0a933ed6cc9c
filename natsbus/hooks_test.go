package natsbus

import (
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every hook is passed on by TeeHooks, to both, and logged by LogHooks.
func TestHooksAreComplete(t *testing.T) {
	count := func() (*Hooks, map[string]int) {
		var h Hooks
		calls := make(map[string]int)
		v := reflect.ValueOf(&h).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func([]reflect.Value) []reflect.Value {
				calls[name]++
				return nil
			}))
		}
		return &h, calls
	}
	one, oneCalls := count()
	two, twoCalls := count()
	var log strings.Builder
	handler := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
	all := reflect.ValueOf(TeeHooks(one, nil, LogHooks(slog.New(handler)), two)).Elem()
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		log.Reset()
		all.Field(i).Call([]reflect.Value{reflect.Zero(all.Field(i).Type().In(0))})
		require.Equal(t, 1, oneCalls[name], name)
		require.Equal(t, 1, twoCalls[name], name)
		require.Contains(t, log.String(), "msg=", name)
	}
}

// Every hook of a connection is passed on by TeeConnHooks, to both, and logged by LogConnHooks.
func TestConnHooksAreComplete(t *testing.T) {
	calls := make(map[string]int)
	counting := func() *ConnHooks {
		var h ConnHooks
		v := reflect.ValueOf(&h).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func([]reflect.Value) []reflect.Value {
				calls[name]++
				return nil
			}))
		}
		return &h
	}
	var log strings.Builder
	all := reflect.ValueOf(TeeConnHooks(counting(), nil, LogConnHooks(slog.New(slog.NewTextHandler(&log, nil))), counting())).Elem()
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		log.Reset()
		all.Field(i).Call([]reflect.Value{reflect.Zero(all.Field(i).Type().In(0))})
		require.Equal(t, 2, calls[name], name)
		require.Contains(t, log.String(), "msg=", name)
	}
}

// Every hook of a Redriver is passed on by TeeRedriverHooks, to both, and logged by LogRedriverHooks.
func TestRedriverHooksAreComplete(t *testing.T) {
	calls := make(map[string]int)
	counting := func() *RedriverHooks {
		var h RedriverHooks
		v := reflect.ValueOf(&h).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func([]reflect.Value) []reflect.Value {
				calls[name]++
				return nil
			}))
		}
		return &h
	}
	var log strings.Builder
	all := reflect.ValueOf(TeeRedriverHooks(counting(), nil, LogRedriverHooks(slog.New(slog.NewTextHandler(&log, nil))), counting())).Elem()
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		arg := reflect.Zero(all.Field(i).Type().In(0))
		if arg.Kind() == reflect.Pointer {
			arg = reflect.New(arg.Type().Elem())
		}
		log.Reset()
		all.Field(i).Call([]reflect.Value{arg})
		require.Equal(t, 2, calls[name], name)
		require.Contains(t, log.String(), "msg=", name)
	}
}
