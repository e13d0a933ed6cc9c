package tracing

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// Headers of other programs are found in any case; our own are in lower case.
func TestHeaderCarrier(t *testing.T) {
	const value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, name := range []string{"traceparent", "Traceparent", "TRACEPARENT"} {
		at := extract(nats.Header{name: {value}, "empty": nil})
		require.True(t, at.IsSampled() && at.IsRemote(), name)
		require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", at.TraceID().String())
	}
	h := nats.Header{}
	headerCarrier(h).Set("Traceparent", value)
	require.Equal(t, nats.Header{"traceparent": {value}}, h)
	require.Equal(t, []string{"traceparent"}, headerCarrier(h).Keys())
	for _, bad := range []string{"", "x", value[:54], "ff" + value[2:], "00-00000000000000000000000000000000-00f067aa0ba902b7-01"} {
		require.False(t, extract(nats.Header{"traceparent": {bad}}).IsValid(), bad)
	}
}
