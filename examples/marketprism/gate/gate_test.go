package gate_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/examples/marketprism/gate"
)

const token = "0123456789abcdefghij"

// serve returns the answer of a gate to a request whose connection was made to local.
func serve(t *testing.T, cfg gate.Config, local string, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if local != "" {
		addr, err := net.ResolveTCPAddr("tcp", local)
		require.NoError(t, err)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(addr)))
	}
	gate.New(cfg, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })).ServeHTTP(w, r)
	return w
}

func TestHosts(t *testing.T) {
	for _, test := range []struct {
		host, local string
		want        int
	}{
		{"127.0.0.1:1", "", 204}, {"[::1]:1", "", 204}, {"localhost", "", 204}, {"LOCALHOST.", "", 204}, {"named.example:9", "", 204},
		{"evil.example", "127.0.0.1:1", 421}, {"127.0.0.1.evil.example", "", 421}, {"", "", 421},
		{"10.0.0.1:1", "10.0.0.1:1", 204}, {"10.0.0.1", "127.0.0.1:1", 421}, {"10.0.0.1", "[::ffff:10.0.0.1]:1", 204},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = test.host
		w := serve(t, gate.Config{Hosts: []string{"Named.Example"}}, test.local, r)
		require.Equal(t, test.want, w.Code, test)
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	}
}

func TestOtherOrigins(t *testing.T) {
	for _, test := range []struct {
		path   string
		header http.Header
		want   int
	}{
		{"/", http.Header{}, 204},
		{"/", http.Header{"Origin": {"http://127.0.0.1:9"}}, 204},
		{"/", http.Header{"Origin": {"http://evil.example"}}, 403},
		{"/", http.Header{"Origin": {"null"}}, 403},
		{"/", http.Header{"Sec-Fetch-Site": {"same-origin"}}, 204},
		{"/", http.Header{"Sec-Fetch-Site": {"none"}}, 204},
		{"/", http.Header{"Sec-Fetch-Site": {"same-site"}}, 403}, // another port of this host
		{"/", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"no-cors"}, "Sec-Fetch-Dest": {"image"}}, 403},
		{"/", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}, 204}, // a link
		{"/", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"iframe"}}, 403},
		{"/api/book", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}, 403},
	} {
		r := httptest.NewRequest(http.MethodGet, test.path, nil)
		r.Host, r.Header = "127.0.0.1:9", test.header
		require.Equal(t, test.want, serve(t, gate.Config{}, "", r).Code, "%s %v", test.path, test.header)
	}
}

func TestToken(t *testing.T) {
	cfg := gate.Config{Token: token}
	request := func(method, path, body string) *http.Request {
		r := httptest.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
	w := serve(t, cfg, "", request(http.MethodGet, "/metrics", ""))
	require.Equal(t, 401, w.Code)
	require.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"))

	for given, want := range map[string]int{token: 204, token + "x": 401, "": 401, token[1:]: 401} {
		r := request(http.MethodGet, "/metrics", "")
		r.Header.Set("Authorization", "Bearer "+given)
		require.Equal(t, want, serve(t, cfg, "", r).Code, given)
	}

	browser := request(http.MethodGet, "/", "")
	browser.Header.Set("Accept", "text/html,*/*")
	w = serve(t, cfg, "", browser)
	require.Equal(t, 401, w.Code)
	require.Contains(t, w.Body.String(), `action="/login"`)
	require.Equal(t, 401, serve(t, cfg, "", request(http.MethodPost, "/login", "token=wrong")).Code)
	require.Equal(t, 401, serve(t, cfg, "", request(http.MethodPost, "/login", "x="+strings.Repeat("x", 1<<20)+"&token="+token)).Code)
	w = serve(t, cfg, "", request(http.MethodPost, "/login", url.Values{"token": {token}}.Encode()))
	require.Equal(t, 303, w.Code)
	cookies := w.Result().Cookies()
	require.Len(t, cookies, 1)
	require.True(t, cookies[0].HttpOnly)
	require.Equal(t, http.SameSiteLaxMode, cookies[0].SameSite)
	require.NotContains(t, cookies[0].Value, token)
	r := request(http.MethodGet, "/", "")
	r.AddCookie(cookies[0])
	require.Equal(t, 204, serve(t, cfg, "", r).Code)
	r = request(http.MethodGet, "/", "")
	r.AddCookie(&http.Cookie{Name: cookies[0].Name, Value: token})
	require.Equal(t, 401, serve(t, cfg, "", r).Code, "the token is not the cookie")

	foreign := request(http.MethodPost, "/login", "token="+token)
	foreign.Header.Set("Origin", "http://evil.example")
	require.Equal(t, 403, serve(t, cfg, "", foreign).Code)
}

func TestExposed(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:1": false, "[::1]:1": false, "localhost:1": false, "0.0.0.0:1": true, ":1": true, "[::]:1": true, "10.0.0.1:1": true, "name:1": true, "": true,
	} {
		require.Equal(t, want, gate.Exposed(addr), addr)
	}
}
