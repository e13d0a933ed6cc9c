package pipeline

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/binance"
)

// A connection that was cut, or never came, is missing; one that was replaced is not.
func TestLinks(t *testing.T) {
	var l links
	h := l.hooks()
	broken := errors.New("broken")
	expect := func(open, all int) {
		t.Helper()
		gotOpen, gotAll := l.count()
		require.Equal(t, [2]int{open, all}, [2]int{gotOpen, gotAll})
	}
	expect(0, 0)
	h.ConnectDone(binance.ConnectInfo{Conn: 0})
	h.ConnectDone(binance.ConnectInfo{Conn: 1, Err: broken})
	expect(1, 2)
	h.ConnectDone(binance.ConnectInfo{Conn: 1})
	h.ConnectDone(binance.ConnectInfo{Conn: 0}) // the one that takes over
	h.Disconnected(binance.DisconnectInfo{Conn: 0, Err: binance.ErrReplaced})
	expect(2, 2)
	h.Disconnected(binance.DisconnectInfo{Conn: 1, Err: broken})
	expect(1, 2)
}
