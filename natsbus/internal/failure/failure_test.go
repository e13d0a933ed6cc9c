package failure_test

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/natsbus/internal/failure"
)

// A message that no stream has answered is one for which there is no stream only if the server says so.
func TestExplain(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t))
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	require.NoError(t, err)
	ended, end := context.WithCancel(t.Context())
	end()
	for _, cause := range []error{
		jetstream.ErrNoStreamResponse, nats.ErrNoResponders, jetstream.ErrAsyncPublishTimeout, nats.ErrTimeout,
		context.DeadlineExceeded, jetstream.ErrInvalidJSAck,
	} {
		err := failure.Explain(t.Context(), js, "other.a", cause)
		require.ErrorIs(t, err, failure.ErrNoStream)
		require.ErrorIs(t, err, cause)
		require.NotErrorIs(t, err, failure.ErrUnavailable)
		for ctx, subject := range map[context.Context]string{t.Context(): "s.a", ended: "other.a"} {
			err = failure.Explain(ctx, js, subject, cause)
			require.ErrorIs(t, err, failure.ErrUnavailable)
			require.ErrorIs(t, err, cause)
			require.NotErrorIs(t, err, failure.ErrNoStream)
		}
	}
	for code, want := range map[jetstream.ErrorCode]error{
		10077: failure.ErrStreamFull, 10047: failure.ErrStreamFull, 10054: failure.ErrTooLarge, 10109: failure.ErrReadOnly,
	} {
		require.ErrorIs(t, failure.Explain(t.Context(), js, "other.a", &jetstream.APIError{ErrorCode: code}), want)
	}
	require.ErrorIs(t, failure.Explain(t.Context(), js, "other.a", nats.ErrDisconnected), failure.ErrUnavailable)
	require.ErrorIs(t, failure.Explain(t.Context(), js, "other.a", nats.ErrConnectionClosed), failure.ErrClosed)
}

// What a stream or an account at its limit refuses may be accepted later, also where the server counts it as a bad
// request; other bad requests, and streams and connections that are gone, may not.
func TestIsPermanent(t *testing.T) {
	api := func(http int, code jetstream.ErrorCode) error {
		return &jetstream.APIError{Code: http, ErrorCode: code}
	}
	for err, want := range map[error]bool{
		api(400, 10002): false, api(503, 10077): false, api(500, 10047): false, jetstream.ErrMaximumConsumersLimit: false,
		api(400, 10054): true, api(400, 10097): true, api(400, 10109): true, api(400, 10025): true,
		nats.ErrMaxPayload: false, nats.ErrTimeout: false, nats.ErrConnectionClosed: true, jetstream.ErrStreamNotFound: true,
	} {
		require.Equal(t, want, failure.IsPermanent(err), err)
	}
	for err, want := range map[error]bool{
		api(400, 10002): false, api(400, 10060): false, nats.ErrMaxPayload: true, api(400, 10109): true, nats.ErrTimeout: false,
	} {
		err = failure.Classify(err)
		require.Equal(t, want, failure.IsPermanent(err), err)
		require.Equal(t, !want, failure.IsTemporary(err), err)
	}
}
