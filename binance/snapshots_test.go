package binance_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/binance"
)

// A slowHTTP delays the answers to depth requests.
type slowHTTP struct {
	*http.Transport
	by time.Duration
}

func (s *slowHTTP) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := s.Transport.RoundTrip(req)
	if strings.HasSuffix(req.URL.Path, "/depth") {
		select {
		case <-time.After(s.by):
		case <-req.Context().Done():
			if err == nil {
				resp.Body.Close()
			}
			return nil, req.Context().Err()
		}
	}
	return resp, err
}

// A book may be lost while its snapshot is on its way. An answer that asks the Client to wait blocks
// further requests even though the snapshot is void.
func TestRefusalOfAVoidRequestBlocks(t *testing.T) {
	var h *harness
	slow := &slowHTTP{&http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return h.srv.DialContext(ctx, network, addr)
	}}, 60 * time.Millisecond}
	s := setup{server: exchange(1), client: binance.Config{HTTPClient: &http.Client{Transport: slow}}, before: func(made *harness) { h = made }}
	bubble(t, s, func(t *testing.T, h *harness) {
		h.ready()
		time.Sleep(time.Second) // the next request need not wait
		h.srv.RejectREST(1, http.StatusTooManyRequests, 20*time.Second)
		h.srv.DropDepth(victim, 1)
		for len(infos[binance.GapInfo](h)) == 0 {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if n := requests(h.srv, "/depth"); n != 2 { // the refusal is on its way
			t.Fatalf("%d requests", n)
		}
		h.srv.Disconnect(0, "")
		time.Sleep(10 * time.Second)
		h.ready()
		h.live(victim)
		h.wellBehaved()
	})
}
