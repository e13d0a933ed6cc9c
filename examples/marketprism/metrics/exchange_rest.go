package metrics

import (
	"context"
	"net"
	"net/http"
	"path"
	"strconv"
	"time"
)

// HTTPClient returns a client for the market's binance.Config that measures its requests. Like the
// library's own it has a timeout of 15 s; dial nil means a plain net.Dialer, through the proxy that the
// environment names.
func (e *Exchange) HTTPClient(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Client {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second}
	if dial != nil {
		transport.Proxy, transport.DialContext = nil, dial
	}
	return &http.Client{Timeout: 15 * time.Second, Transport: restMeter{e, transport}}
}

// A restMeter measures requests.
type restMeter struct {
	exchange *Exchange
	next     http.RoundTripper
}

func (r restMeter) RoundTrip(request *http.Request) (*http.Response, error) {
	endpoint := known(path.Base(request.URL.Path), endpoints)
	begun := time.Now()
	response, err := r.next.RoundTrip(request)
	r.exchange.restTook[endpoint].Observe(time.Since(begun).Seconds())
	r.exchange.rest[endpoint].of(statusClass(response, err)).inc()
	return response, err
}

// CloseIdleConnections lets http.Client close them.
func (r restMeter) CloseIdleConnections() {
	if c, ok := r.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func statusClass(response *http.Response, err error) string {
	switch {
	case err != nil:
		return "error"
	case response.StatusCode == http.StatusTeapot, response.StatusCode == http.StatusTooManyRequests:
		return strconv.Itoa(response.StatusCode)
	case response.StatusCode >= 200 && response.StatusCode < 600:
		return strconv.Itoa(response.StatusCode/100) + "xx"
	}
	return "error"
}
