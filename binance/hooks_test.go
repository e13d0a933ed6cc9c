package binance_test

import (
	"bytes"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/binance"
)

// fill sets every hook to one that counts its calls under its name.
func fill(t *testing.T, calls map[string]int) *binance.Hooks {
	t.Helper()
	h := &binance.Hooks{}
	v := reflect.ValueOf(h).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func(args []reflect.Value) []reflect.Value {
			if args[0].Field(args[0].NumField() - 1).IsZero() {
				t.Errorf("%s got an empty %v", name, args[0].Type())
			}
			calls[name]++
			return nil
		}))
	}
	return h
}

// callAll calls every hook with an Info whose last field is set.
func callAll(t *testing.T, h *binance.Hooks) []string {
	t.Helper()
	var called []string
	v := reflect.ValueOf(h).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsNil() {
			t.Errorf("%s is not set", name)
			continue
		}
		info := reflect.New(v.Field(i).Type().In(0)).Elem()
		last := info.Field(info.NumField() - 1)
		switch last.Kind() {
		case reflect.Interface:
			last.Set(reflect.ValueOf(errors.New("broken")))
		case reflect.Struct:
			last.FieldByName("After").SetInt(7)
		case reflect.String:
			last.SetString("BREAK")
		case reflect.Uint64:
			last.SetUint(7)
		default:
			last.SetInt(7)
		}
		v.Field(i).Call([]reflect.Value{info})
		called = append(called, name)
	}
	return called
}

func TestTeeHooksCallsAll(t *testing.T) {
	one, two := make(map[string]int), make(map[string]int)
	for _, name := range callAll(t, binance.TeeHooks(fill(t, one), nil, &binance.Hooks{}, fill(t, two))) {
		if one[name] != 1 || two[name] != 1 {
			t.Errorf("%s was called %d and %d times", name, one[name], two[name])
		}
	}
	v := reflect.ValueOf(binance.TeeHooks(nil, &binance.Hooks{})).Elem()
	for i := range v.NumField() {
		if !v.Field(i).IsNil() {
			t.Errorf("%s is set, of nothing", v.Type().Field(i).Name)
		}
	}
}

func TestLogHooksLogsAll(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	called := callAll(t, binance.LogHooks(l))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(called) {
		t.Fatalf("%d lines for %d hooks:\n%s", len(lines), len(called), out.String())
	}
	for i, name := range called {
		if !strings.Contains(lines[i], "msg=\"binance: ") && !strings.Contains(lines[i], "msg=binance: ") {
			t.Errorf("%s logs %s", name, lines[i])
		}
	}
	if n := strings.Count(out.String(), "err=broken"); n < 3 {
		t.Errorf("%d errors in\n%s", n, out.String())
	}
}
