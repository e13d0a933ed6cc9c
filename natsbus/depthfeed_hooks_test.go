package natsbus

import (
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every hook is passed on by TeeFeedHooks, in order, and logged by LogFeedHooks.
func TestFeedHooksAreComplete(t *testing.T) {
	var calls []string
	counting := func(name string) *FeedHooks {
		var h FeedHooks
		v := reflect.ValueOf(&h).Elem()
		for i := range v.NumField() {
			v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func([]reflect.Value) []reflect.Value {
				calls = append(calls, name)
				return nil
			}))
		}
		return &h
	}
	var log strings.Builder
	handler := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
	all := reflect.ValueOf(TeeFeedHooks(counting("one"), nil, LogFeedHooks(slog.New(handler)), counting("two"))).Elem()
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		calls = nil
		log.Reset()
		all.Field(i).Call([]reflect.Value{reflect.Zero(all.Field(i).Type().In(0))})
		require.Equal(t, []string{"one", "two"}, calls, name)
		require.Contains(t, log.String(), "msg=", name)
	}
}
