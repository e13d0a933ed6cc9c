package presence

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPeersLiveAndGo(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(int64(1000+seconds), 0) }
	beat := Beat{Service: "collector", Instance: "a", Every: 10 * time.Second, Started: at(0)}
	p := peers{max: 2}
	_, ok := p.deadline()
	require.False(t, ok)

	hear := func(seconds int, b Beat) (Liveness, bool) {
		t.Helper()
		peer, changed, err := p.hear(at(seconds), b)
		require.NoError(t, err)
		return peer.Liveness, changed
	}
	live, changed := hear(0, beat)
	require.Equal(t, Alive, live)
	require.True(t, changed)
	_, changed = hear(10, beat)
	require.False(t, changed)

	require.Empty(t, p.expire(at(29)))
	next, ok := p.deadline()
	require.True(t, ok)
	require.Equal(t, at(30), next)
	late := p.expire(next)
	require.Len(t, late, 1)
	require.Equal(t, Late, late[0].Liveness)
	require.Equal(t, at(10), late[0].Heard)
	require.Empty(t, p.expire(next))
	_, changed = hear(31, beat)
	require.True(t, changed, "alive again")

	beat.Started = at(32)
	_, changed = hear(32, beat)
	require.True(t, changed, "it was restarted")

	gone := p.expire(at(72))
	require.Len(t, gone, 1)
	require.Equal(t, Gone, gone[0].Liveness)
	require.Empty(t, p.all())

	hear(80, beat)
	beat.Every = 0
	live, changed = hear(81, beat)
	require.Equal(t, Gone, live)
	require.True(t, changed)
	_, changed = hear(81, beat)
	require.False(t, changed)
}

func TestPeersAreBounded(t *testing.T) {
	p := peers{max: 1}
	beat := Beat{Service: "collector", Instance: "a", Every: time.Second}
	_, _, err := p.hear(time.Unix(0, 0), beat)
	require.NoError(t, err)
	beat.Instance = "b"
	_, _, err = p.hear(time.Unix(0, 0), beat)
	require.ErrorIs(t, err, ErrTooManyPeers)
	for _, every := range []time.Duration{-1, maxInterval + 1} {
		beat.Every = every
		_, _, err = p.hear(time.Unix(0, 0), beat)
		require.ErrorIs(t, err, errInterval)
	}
}

// Texts of a beat are shown on terminals and in logs, and any peer sends them.
func TestTextsOfABeat(t *testing.T) {
	own := Beat{Service: "collector", Instance: "a-1", Version: "1.2.3-rc.1+5", Report: Report{State: "2 of 3 synced, bus away"}}
	require.NoError(t, checkTexts(&own))
	for _, change := range []func(*Beat){
		func(b *Beat) { b.State = "\x1b[2J" }, func(b *Beat) { b.State = "a\nb" }, func(b *Beat) { b.State = "\u009b31m" }, func(b *Beat) { b.Version = "\u202e1" },
		func(b *Beat) { b.State = "\xff" }, func(b *Beat) { b.State = strings.Repeat("x", maxState+1) }, func(b *Beat) { b.Version = strings.Repeat("1", maxVersion+1) },
		func(b *Beat) { b.Service = "a\x1b" }, func(b *Beat) { b.Instance = "" },
	} {
		b := own
		change(&b)
		require.Error(t, checkTexts(&b), "%q", b)
	}
}
