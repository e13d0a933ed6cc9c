// Package gate decides which requests reach an HTTP handler of the program: those for its own host, not sent by a page of
// another origin, and, where there is a token, with it.
//
// A port on loopback is open to every program and every web page on the host. A browser names the page that a request comes
// from in Sec-Fetch-Site (https://www.w3.org/TR/fetch-metadata/) and Origin; a page that has pointed its own name to this
// host, DNS rebinding, gives that name as the Host.
package gate

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// A Config says what passes. The zero value lets in what comes for a loopback address.
type Config struct {
	// Hosts are host names, without a port, besides loopback addresses, localhost and the address that a connection was
	// made to.
	Hosts []string

	// Token is what a request has to carry: in the header "Authorization: Bearer TOKEN", or in the cookie that a browser
	// gets for it at /login. "" means no token.
	Token string
}

// A gate is the handler of New.
type gate struct {
	cfg  Config
	next http.Handler
}

// New returns a handler that gives to next the requests that pass.
func New(cfg Config, next http.Handler) http.Handler { return &gate{cfg, next} }

// loginPath is where a browser sends the token.
const loginPath = "/login"

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	switch {
	case !g.ownHost(r):
		http.Error(w, "nothing is served under that name; the setting hosts adds names", http.StatusMisdirectedRequest)
	case foreign(r):
		http.Error(w, "not for pages of other origins", http.StatusForbidden)
	case g.cfg.Token == "" || g.known(r):
		g.next.ServeHTTP(w, r)
	case r.URL.Path == loginPath && r.Method == http.MethodPost:
		g.login(w, r)
	case strings.Contains(r.Header.Get("Accept"), "text/html"):
		showLogin(w)
	default:
		h.Set("WWW-Authenticate", "Bearer")
		http.Error(w, "give the token: Authorization: Bearer TOKEN", http.StatusUnauthorized)
	}
}

// ownHost reports whether a request is for a loopback address, localhost, one of Config.Hosts, or the address that its
// connection was made to. An address cannot be rebound.
func (g *gate) ownHost(r *http.Request) bool {
	name := r.Host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if addr, err := netip.ParseAddr(name); err == nil {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if addr.IsLoopback() || local != nil && sameAddr(addr, local.String()) {
			return true
		}
	}
	return name == "localhost" || slices.ContainsFunc(g.cfg.Hosts, func(h string) bool { return strings.EqualFold(h, name) })
}

func sameAddr(addr netip.Addr, listener string) bool {
	local, err := netip.ParseAddrPort(listener)
	return err == nil && local.Addr().Unmap() == addr.Unmap()
}

// foreign reports whether a page of another origin has sent a request. Following a link to a page is no such request. What
// has neither header is no browser, or an old one.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "":
		origin := r.Header.Get("Origin")
		u, err := url.Parse(origin)
		return origin != "" && (err != nil || !strings.EqualFold(u.Host, r.Host))
	}
	return r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document" ||
		strings.HasPrefix(r.URL.Path, "/api/")
}

// The cookie of a login. Its value is made from the token, which a leaked cookie does not reveal.
const cookieName = "marketprism"

func (g *gate) cookie() string {
	mac := hmac.New(sha256.New, []byte(g.cfg.Token))
	mac.Write([]byte(cookieName))
	return hex.EncodeToString(mac.Sum(nil))
}

// known reports whether a request has the token or the cookie.
func (g *gate) known(r *http.Request) bool {
	if given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return same(given, g.cfg.Token)
	}
	c, err := r.Cookie(cookieName)
	return err == nil && same(c.Value, g.cookie())
}

// same compares in a time that does not depend on where they differ.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// maxLogin bounds the body of a login.
const maxLogin = 4 << 10

func (g *gate) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLogin)
	if !same(r.PostFormValue("token"), g.cfg.Token) {
		showLogin(w)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: g.cookie(), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}) // #nosec G124 -- the page speaks HTTP, behind a proxy with TLS or alone
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func showLogin(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprint(w, `<!doctype html><html lang="en"><title>MarketPrism</title><form method="post" action="`+loginPath+`">`+
		`<label>Token <input name="token" type="password" autocomplete="current-password" autofocus></label> <button>Log in</button></form></html>`)
}

// Exposed reports whether a listener at addr, host:port, can be reached from other hosts.
func Exposed(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return host != "localhost" && (err != nil || !ip.IsLoopback())
}
