package binancetest

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A restAPI serves the REST requests of an exchange.
type restAPI struct{ *exchange }

// An endpoint is one REST path.
type endpoint struct {
	params []string                   // that it reads
	weight func(query url.Values) int // of a request
	serve  func(url.Values) *answer   // called under mu
	keyed  bool                       // needs an API key
}

func constant(weight int) func(url.Values) int { return func(url.Values) int { return weight } }

// endpoint returns the endpoint of a path, or nil.
func (api restAPI) endpoint(path string) *endpoint {
	name, found := strings.CutPrefix(path, api.rules.restPrefix)
	if !found {
		return nil
	}
	switch name {
	case "/ping":
		return &endpoint{weight: constant(1), serve: func(url.Values) *answer { return ok([]byte("{}")) }}
	case "/time":
		return &endpoint{weight: constant(1), serve: func(url.Values) *answer {
			return ok(append(appendTime(nil, `{"serverTime":`, api.now(), inMillis), '}'))
		}}
	case "/exchangeInfo":
		return &endpoint{params: api.withStatus("symbol", "symbols"), weight: constant(api.rules.infoWeight), serve: api.exchangeInfo}
	case "/depth":
		return &endpoint{params: api.withStatus("symbol", "limit"), weight: api.depthWeight, serve: api.depth}
	case "/trades":
		return &endpoint{params: []string{"symbol", "limit"}, weight: constant(api.rules.trades.weight), serve: api.trades}
	case "/historicalTrades":
		return &endpoint{
			params: []string{"symbol", "limit", "fromId"}, weight: constant(api.rules.historicalTrades.weight),
			serve: api.historicalTrades, keyed: api.rules.keyed,
		}
	case "/aggTrades":
		return &endpoint{
			params: []string{"symbol", "limit", "fromId", "startTime", "endTime"}, weight: constant(api.rules.aggTrades.weight),
			serve: api.aggTrades,
		}
	}
	return nil
}

// withStatus adds the parameter symbolStatus, which only spot has.
func (api restAPI) withStatus(params ...string) []string {
	if api.rules.byStatus {
		return append(params, "symbolStatus")
	}
	return params
}

// serveHTTP answers one REST request.
func (api restAPI) serveHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	a, used := api.answer(r.URL.Path, query, r.Header.Get("X-MBX-APIKEY") != "")
	for a.hold != nil {
		await(api.done, r, a.hold)
		a = api.answerAgain(r.URL.Path, query)
	}
	if a.delay > 0 {
		t := time.NewTimer(a.delay)
		defer t.Stop()
		await(api.done, r, t.C)
	}
	a.write(w, r, api.done, used, api.rules.contiguous)
}

// answer counts a request, applies the limits and faults, and serves it. used is the weight of the current
// minute, this request included.
func (api restAPI) answer(path string, query url.Values, key bool) (a *answer, used int) {
	api.mu.Lock()
	defer api.mu.Unlock()
	now := time.Now()
	api.stats.Requests[path]++
	defer func() {
		a.date = api.now()
		api.retry.observe(now, a)
	}()
	e := api.endpoint(path)
	weight := 1
	if e != nil {
		weight = e.weight(query)
	}
	if a = api.weight.charge(now, weight); a != nil {
		api.stats.WeightViolations++
		api.stats.Bans = api.weight.bans
		return a, api.weight.used
	}
	used = api.weight.used
	if now.Before(api.retry.until) && now.Sub(api.retry.since) > retryGrace {
		api.stats.EarlyRequests++
	}
	if a = api.rejection(now, query.Get("symbol")); a != nil {
		return a, used
	}
	switch {
	case e == nil:
		return &answer{status: http.StatusNotFound, html: true, body: []byte("<html><body><h2>404 Not found</h2></body></html>")}, used
	case e.keyed && !key:
		return apiError(http.StatusUnauthorized, -2014, "API-key format invalid."), used
	}
	if a = unread(query, e.params); a == nil {
		a = api.serve(e, query)
	}
	return a, used
}

// rejection returns the answer of a fault to a request, or nil.
func (api restAPI) rejection(now time.Time, symbol string) *answer {
	a := api.faults.ban.rejection(now)
	if a == nil {
		a = api.faults.rejection(now, &api.weight)
	}
	if sym := api.byName[symbol]; a == nil && sym != nil {
		a = sym.faults.rest.rejection(now, &api.weight)
	}
	return a
}

func (api restAPI) serve(e *endpoint, query url.Values) *answer {
	a := e.serve(query)
	if a.hold == nil {
		api.faults.decorate(a)
	}
	return a
}

func (api restAPI) answerAgain(path string, query url.Values) *answer {
	api.mu.Lock()
	defer api.mu.Unlock()
	a := api.serve(api.endpoint(path), query)
	a.date = api.now()
	return a
}

// symbolParam returns the mandatory symbol.
func (api restAPI) symbolParam(query url.Values) (*symbolState, *answer) {
	name := query.Get("symbol")
	if name == "" {
		return nil, badRequest(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
	}
	sym := api.byName[name]
	if sym == nil {
		return nil, badRequest(-1121, "Invalid symbol.")
	}
	return sym, nil
}
