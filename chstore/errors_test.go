package chstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestDial(t *testing.T) {
	db := chtest.Open(t)
	for _, addr := range []string{db.Addr, "clickhouse://" + db.Addr, "clickhouse://" + db.Addr + "/not_there"} {
		conn, err := chstore.Dial(t.Context(), addr)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	_, err := chstore.Dial(t.Context(), "clickhouse://default:wrong@"+db.Addr)
	var refused *chstore.ConnectError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, db.Addr, refused.Addr)
	var exception *clickhouse.Exception
	require.ErrorAs(t, err, &exception)
	require.EqualValues(t, 516, exception.Code)
}

func TestDialNobody(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := closed.Addr().String()
	require.NoError(t, closed.Close())
	_, err = chstore.Dial(t.Context(), "clickhouse://user:secret@"+addr)
	var nobody *chstore.ConnectError
	require.ErrorAs(t, err, &nobody)
	require.Equal(t, addr, nobody.Addr)
	require.ErrorContains(t, err, "start one there")
	require.NotContains(t, err.Error(), "secret")
	require.True(t, chstore.Retryable(err))

	_, err = chstore.Dial(t.Context(), "clickhouse://user:secret@host:port:x/%zz")
	require.ErrorAs(t, err, &nobody)
	require.NotContains(t, err.Error(), "secret")
}

func TestRetryable(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{context.Canceled, false},
		{context.DeadlineExceeded, true},
		{io.EOF, true},
		{errors.Join(io.EOF, &clickhouse.Exception{Code: 252}), true},
		{errors.Join(&clickhouse.Exception{Code: 252}, &clickhouse.Exception{Code: 60}), false},
		{errors.Join(&clickhouse.Exception{Code: 60}, &clickhouse.Exception{Code: 252}), false},
		{errors.Join(io.EOF, &chstore.WatermarkError{}), false},
		{clickhouse.ErrAcquireConnTimeout, true},
		{&net.OpError{Op: "dial", Err: io.EOF}, true},
		{&clickhouse.Exception{Code: 252}, true}, // TOO_MANY_PARTS
		{&clickhouse.Exception{Code: 241}, true}, // MEMORY_LIMIT_EXCEEDED
		{&clickhouse.Exception{Code: 60}, false}, // UNKNOWN_TABLE
		{&clickhouse.Exception{Code: 497}, false},
		{fmt.Errorf("anything else"), false},
	} {
		require.Equal(t, test.want, chstore.Retryable(test.err), "%v", test.err)
		if test.err != nil {
			require.Equal(t, test.want, chstore.Retryable(&chstore.InsertError{Err: test.err}), "%v", test.err)
		}
	}
}

// A server that is gone is an error after the attempts of Config, each of which is told.
func TestWriteNobody(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	conn, err := chstore.Open(&clickhouse.Options{Addr: []string{addr}, DialTimeout: time.Second})
	require.NoError(t, err)
	defer conn.Close()
	var failed []int
	s, err := chstore.New(conn, chstore.Config{Attempts: 3, RetryMin: time.Millisecond, Hooks: &chstore.Hooks{
		Retrying: func(i chstore.RetryInfo) { failed = append(failed, i.Attempt) },
	}})
	require.NoError(t, err)
	recs := sinktest.Records(1, 1)
	err = s.Write(t.Context(), recs)
	var insert *chstore.InsertError
	require.ErrorAs(t, err, &insert)
	require.Equal(t, 3, insert.Attempts)
	require.ErrorContains(t, err, addr)
	require.True(t, chstore.Retryable(err))
	require.Equal(t, []int{1, 2}, failed)
}

func TestConfig(t *testing.T) {
	conn := connect(t, chtest.Open(t))
	for want, cfg := range map[string]chstore.Config{
		"unknown Partition 9":     {Partition: 9},
		"BlockBytes -1":           {BlockBytes: -1},
		"RetryMin -1ns":           {RetryMin: -1},
		"RetryMin 1m0s":           {RetryMin: time.Minute, RetryMax: time.Second},
		"TTL of trades is 1ms":    {TTL: chstore.TTL{Trades: time.Millisecond}},
		"TTL of tickers is -1h0m": {TTL: chstore.TTL{Tickers: -time.Hour}},
	} {
		_, err := chstore.New(conn, cfg)
		require.ErrorContains(t, err, want)
	}
	_, err := chstore.New(nil, chstore.Config{})
	require.ErrorContains(t, err, "no connection")
}
