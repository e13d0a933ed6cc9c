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
