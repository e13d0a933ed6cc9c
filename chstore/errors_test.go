package chstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
)

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

func TestReasonOf(t *testing.T) {
	for _, test := range []struct {
		err  error
		want chstore.Reason
	}{
		{nil, ""},
		{&clickhouse.Exception{Code: 252}, chstore.ReasonTooManyParts},
		{&chstore.InsertError{Err: &clickhouse.Exception{Code: 241}}, "memory"},
		{&clickhouse.Exception{Code: 159}, "timeout"},
		{&clickhouse.Exception{Code: 60}, "schema"},
		{&clickhouse.Exception{Code: 516}, "auth"},
		{&clickhouse.Exception{Code: 164}, "readonly"},
		{&clickhouse.Exception{Code: 243}, chstore.ReasonDisk},
		{&clickhouse.Exception{Code: 1}, "other"},
		{&chstore.SchemaError{}, "schema"},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), "timeout"},
		{&net.OpError{Err: os.ErrDeadlineExceeded}, "timeout"},
		{&net.OpError{Err: errors.New("connection refused")}, "network"},
		{io.ErrUnexpectedEOF, "network"},
		{context.Canceled, chstore.ReasonCanceled},
		{errors.New("x"), "other"},
	} {
		require.Equal(t, test.want, chstore.ReasonOf(test.err), "%v", test.err)
		if test.err != nil {
			require.Contains(t, chstore.Reasons(), test.want)
		}
	}
}
