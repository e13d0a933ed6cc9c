package pipeline

import (
	"errors"
	"sync"

	"github.com/marketprism/marketprism/binance"
)

// links knows which connections to the exchange are open, by their hooks. It is safe for concurrent use.
type links struct {
	mu   sync.Mutex
	open map[int]bool // by number; false for one that was tried, or was open, and is to be
}

func (l *links) hooks() *binance.Hooks {
	return &binance.Hooks{
		ConnectDone: func(i binance.ConnectInfo) { l.set(i.Conn, i.Err == nil) },
		Disconnected: func(i binance.DisconnectInfo) {
			if !errors.Is(i.Err, binance.ErrReplaced) { // then another one has its number
				l.set(i.Conn, false)
			}
		},
	}
}

func (l *links) set(conn int, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = make(map[int]bool)
	}
	l.open[conn] = open
}

// count returns how many are open, and how many should be.
func (l *links) count() (open, all int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, is := range l.open {
		if is {
			open++
		}
	}
	return open, len(l.open)
}
