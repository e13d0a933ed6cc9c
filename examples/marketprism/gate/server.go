package gate

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// maxConns bounds the connections of one client, so that it does not take the descriptors of all others.
const maxConns = 64

// NewServer returns a server with a deadline for everything that a client can delay. A handler whose answer has no end
// sets its own.
func NewServer(handler http.Handler) *http.Server {
	var open counts
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second, // more than any answer takes
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ConnState: func(conn net.Conn, state http.ConnState) {
			client := Client(conn.RemoteAddr().String())
			switch state {
			case http.StateNew:
				if open.add(client, 1) > maxConns {
					conn.Close()
				}
			case http.StateClosed, http.StateHijacked:
				open.add(client, -1)
			}
		},
	}
}

// counts hold a number for each client that has one.
type counts struct {
	mu       sync.Mutex
	byClient map[string]int
}

// add changes the number of a client, and returns the new one.
func (c *counts) add(client string, n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byClient == nil {
		c.byClient = make(map[string]int)
	}
	c.byClient[client] += n
	now := c.byClient[client]
	if now == 0 {
		delete(c.byClient, client)
	}
	return now
}

// Client names who is at the remote address of a connection, for bounds: an address, or a network of IPv6, which has more
// addresses than could be counted.
func Client(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	addr := at.Addr().Unmap()
	if addr.Is6() {
		if network, err := addr.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return addr.String()
}
