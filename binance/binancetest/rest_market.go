package binancetest

import (
	"net/http"
	"net/url"
	"strconv"
)

// depthLimit returns the limit parameter, or the default without it, at most the maximum.
func (api restAPI) depthLimit(query url.Values) (limit int, rejected *answer) {
	if !query.Has("limit") {
		return api.rules.defaultLimit, nil
	}
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 0 {
		return 0, badRequest(-1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.")
	}
	if api.rules.maxLimit > 0 {
		limit = min(limit, api.rules.maxLimit)
	}
	if api.rules.depthWeight(limit) == 0 {
		return 0, badRequest(-1130, "Data sent for parameter 'limit' is not valid.")
	}
	return limit, nil
}

// depthWeight returns the weight of a depth request: 1 for a rejected one.
func (api restAPI) depthWeight(query url.Values) int {
	limit, rejected := api.depthLimit(query)
	if rejected != nil {
		return 1
	}
	return api.rules.depthWeight(limit)
}

// depth serves a snapshot: of the playback, or of the book at the last border unless a fault changes that.
func (api restAPI) depth(query url.Values) *answer {
	limit, rejected := api.depthLimit(query)
	if rejected != nil {
		return rejected
	}
	sym, rejected := api.symbolParam(query)
	if rejected != nil {
		return rejected
	}
	status, rejected := statusParam(query)
	switch {
	case rejected != nil:
		return rejected
	case status != "" && status != sym.Status:
		return badRequest(-1220, "The symbol does not match the status.")
	}
	if api.replay != nil {
		switch body, hold := api.replay.snapshot(sym, limit); {
		case hold != nil:
			return &answer{hold: hold}
		case body != nil:
			return api.snapshotAnswer(sym, body)
		}
	}
	if !sym.synced {
		return apiError(http.StatusServiceUnavailable, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes.")
	}
	var st *state
	switch back := sym.faults.staleBy(); {
	case back > 0:
		st = sym.atBorder(back)
	case sym.faults.midBatch() || api.cfg.MidBatchSnapshots:
		st = sym.midBatch()
	default:
		st = sym.atBorder(0)
	}
	snap := st.snapshot(limit)
	return api.snapshotAnswer(sym, api.encode.snapshot(sym, &snap, api.now()))
}

func (api restAPI) snapshotAnswer(sym *symbolState, body []byte) *answer {
	sym.faults.afterSnapshot()
	return &answer{status: http.StatusOK, body: body, delay: max(api.faults.snapshotDelay(), sym.faults.rest.snapshotDelay())}
}

// trades serves the last trades of a symbol.
func (api restAPI) trades(query url.Values) *answer {
	return api.tradeRows(query, api.rules.trades)
}

// historicalTrades serves trades from an id on, or the last ones without an id.
func (api restAPI) historicalTrades(query url.Values) *answer {
	return api.tradeRows(query, api.rules.historicalTrades)
}

func (api restAPI) tradeRows(query url.Values, page pageRules) *answer {
	sym, limit, rejected := api.page(query, page)
	if rejected != nil {
		return rejected
	}
	from, rejected := longParam(query, "fromId", noTrade)
	if rejected != nil {
		return rejected
	}
	rows := make([]execution, 0, limit)
	for _, x := range sym.tape.last() {
		if x.id != noTrade && x.id >= from {
			rows = append(rows, x)
		}
	}
	return ok(appendRows(pageOf(rows, limit, query.Has("fromId")), func(b []byte, x *execution) []byte {
		return api.encode.tradeRow(b, sym, x)
	}))
}

// aggTrades serves aggregates from an id on, of a period, or the last ones.
//
// rest-api.md, "Compressed/Aggregate trades list": "If fromId, startTime, and endTime are not sent, the
// most recent aggregate trades will be returned." Rejecting an id together with a time, with -1128,
// is this package's choice.
func (api restAPI) aggTrades(query url.Values) *answer {
	sym, limit, rejected := api.page(query, api.rules.aggTrades)
	if rejected != nil {
		return rejected
	}
	timed := query.Has("startTime") || query.Has("endTime")
	if timed && query.Has("fromId") {
		return badRequest(-1128, "Combination of optional parameters invalid.")
	}
	var bounds [3]int64
	for i, name := range [...]string{"fromId", "startTime", "endTime"} {
		if bounds[i], rejected = longParam(query, name, noTrade); rejected != nil {
			return rejected
		}
	}
	rows := make([]aggregate, 0, limit)
	for _, a := range sym.tape.aggregates() {
		if a.id >= bounds[0] && a.millis >= bounds[1] && (bounds[2] < 0 || a.millis <= bounds[2]) {
			rows = append(rows, a)
		}
	}
	return ok(appendRows(pageOf(rows, limit, query.Has("fromId") || query.Has("startTime")), func(b []byte, a *aggregate) []byte {
		return api.encode.aggregateRow(b, sym, a)
	}))
}

// page returns the symbol and the limit of a request. A limit above the maximum means the maximum.
func (api restAPI) page(query url.Values, page pageRules) (*symbolState, int, *answer) {
	sym, rejected := api.symbolParam(query)
	if rejected != nil {
		return nil, 0, rejected
	}
	limit, rejected := longParam(query, "limit", int64(page.defaultLimit))
	switch {
	case rejected != nil:
		return nil, 0, rejected
	case limit < 1:
		return nil, 0, badRequest(-1130, "Data sent for parameter 'limit' is not valid.")
	}
	return sym, int(min(limit, int64(page.maxLimit))), nil
}

// pageOf returns the first or the last limit rows.
func pageOf[T any](rows []T, limit int, first bool) []T {
	switch {
	case len(rows) <= limit:
		return rows
	case first:
		return rows[:limit]
	}
	return rows[len(rows)-limit:]
}

func appendRows[T any](rows []T, row func([]byte, *T) []byte) []byte {
	b := []byte{'['}
	for i := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = row(b, &rows[i])
	}
	return append(b, ']')
}
