// Package hooktest tests the Tee and Log functions of a struct of hooks by reflection, so that they cannot miss a
// hook that is added later.
package hooktest

import (
	"bytes"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"testing"
)

// Complete fails t unless tee and log handle every field of H, a struct of funcs of one argument each: tee calls
// the hooks of all its arguments, in order, with its own argument, skips nil, and sets no hook that no
// argument has; log writes one line for each call, with the error if the argument has one.
func Complete[H any](t *testing.T, tee func(...*H) *H, log func(*slog.Logger) *H) {
	t.Helper()
	type call struct {
		side int
		info any
	}
	var calls []call
	counting := func(side int) *H {
		h := new(H)
		each(h, func(_ string, f reflect.Value) {
			f.Set(reflect.MakeFunc(f.Type(), func(args []reflect.Value) []reflect.Value {
				calls = append(calls, call{side, args[0].Interface()})
				return nil
			}))
		})
		return h
	}
	each(tee(counting(1), nil, new(H), counting(2)), func(name string, f reflect.Value) {
		if f.IsNil() {
			t.Errorf("%s is forgotten by the tee", name)
			return
		}
		info := filled(f.Type().In(0))
		calls = nil
		f.Call([]reflect.Value{info})
		if want := []call{{1, info.Interface()}, {2, info.Interface()}}; !reflect.DeepEqual(calls, want) {
			t.Errorf("%s: the tee made the calls %+v, want %+v", name, calls, want)
		}
	})
	each(tee(nil, new(H)), func(name string, f reflect.Value) {
		if !f.IsNil() {
			t.Errorf("%s is set by a tee of no hooks", name)
		}
	})

	var out bytes.Buffer
	each(log(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))), func(name string, f reflect.Value) {
		if f.IsNil() {
			t.Errorf("%s is not logged", name)
			return
		}
		info := f.Type().In(0)
		out.Reset()
		f.Call([]reflect.Value{filled(info)})
		if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 || !bytes.Contains(out.Bytes(), []byte("msg=")) {
			t.Errorf("%s logs %d lines, want one with a message:\n%s", name, n, &out)
		}
		if hasError(info) && !bytes.Contains(out.Bytes(), []byte(errBroken.Error())) {
			t.Errorf("%s logs no error: %s", name, &out)
		}
	})
}

// CallAll calls every hook of hooks, a struct of funcs of one argument each that are all set, with an argument
// without zero fields.
func CallAll(hooks any) {
	each(hooks, func(_ string, f reflect.Value) { f.Call([]reflect.Value{filled(f.Type().In(0))}) })
}

// errBroken is the error in every info that has one.
var errBroken = errors.New("broken")

var errorType = reflect.TypeFor[error]()

// each calls do for every field of a struct of hooks.
func each(hooks any, do func(name string, f reflect.Value)) {
	v := reflect.ValueOf(hooks).Elem()
	for i := range v.NumField() {
		do(v.Type().Field(i).Name, v.Field(i))
	}
}

func hasError(info reflect.Type) bool {
	if info.Kind() == reflect.Pointer {
		info = info.Elem()
	}
	return info == errorType || info.Kind() == reflect.Struct &&
		slices.ContainsFunc(reflect.VisibleFields(info), func(f reflect.StructField) bool { return f.Type == errorType })
}

// filled returns a value of type t without zero fields.
func filled(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	fill(v, 4)
	return v
}

// fill sets v and its elements, down to a depth.
func fill(v reflect.Value, depth int) {
	switch {
	case !v.CanSet() || depth == 0:
	case v.Type() == errorType:
		v.Set(reflect.ValueOf(errBroken))
	case v.CanInt():
		v.SetInt(1)
	case v.CanUint():
		v.SetUint(1)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanFloat():
		v.SetFloat(1)
	case v.Kind() == reflect.String:
		v.SetString("text")
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth-1)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth-1)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth-1)
		}
	}
}
