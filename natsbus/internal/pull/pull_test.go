package pull

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func TestDeliveryIsReadFromItsReplySubject(t *testing.T) {
	want := jetstream.MsgMetadata{
		Sequence: jetstream.SequencePair{Stream: 7, Consumer: 5}, NumDelivered: 2, NumPending: 11,
		Timestamp: time.Unix(0, 1_750_000_000_123_456_789),
	}
	for _, reply := range []string{
		"$JS.ACK.MD_DEPTH.archiver.2.7.5.1750000000123456789.11",
		"$JS.ACK.hub.ACCOUNT.MD_DEPTH.archiver.2.7.5.1750000000123456789.11",
		"$JS.ACK._.ACCOUNT.MD_DEPTH.archiver.2.7.5.1750000000123456789.11.random",
	} {
		d, err := newDelivery(&nats.Msg{Reply: reply})
		require.NoError(t, err, reply)
		require.Equal(t, want, d.Meta, reply)
	}
	for _, reply := range []string{"$JS.ACK.", "$JS.ACK.a.b.1.2.3.4", "$JS.ACK.a.b.1.2.3.4.x", "$JS.ACK.a.b.1.-2.3.4.5"} {
		_, err := newDelivery(&nats.Msg{Reply: reply})
		require.ErrorIs(t, err, errReply, reply)
	}
}

// A report of the server says how many messages are still to come, not that there are none.
func TestEndOfARequestLeavesItsDeliveries(t *testing.T) {
	status := func(code, text, pending string) *nats.Msg {
		header := nats.Header{"Status": {code}, "Description": {text}}
		if pending != "" {
			header["Nats-Pending-Messages"] = []string{pending}
		}
		return &nats.Msg{Header: header}
	}
	p := &Puller{due: 10}
	require.NoError(t, p.report(status("100", "Idle Heartbeat", "")))
	require.NoError(t, p.report(status("409", "Batch Completed", "0")))
	require.Equal(t, 10, p.due, "the whole batch is still to come")
	require.NoError(t, p.report(status("408", "Request Timeout", "7")))
	require.Equal(t, 3, p.due)
	require.ErrorContains(t, p.report(status("409", "Leadership Change", "")), "Leadership Change")
	require.ErrorIs(t, p.report(status("503", "", "")), nats.ErrNoResponders)
	require.NoError(t, p.report(status("404", "No Messages", "")))
	require.Zero(t, p.due)
}
