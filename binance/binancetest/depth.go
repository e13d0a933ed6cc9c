package binancetest

import (
	"net/http"
	"net/url"
	"strconv"
)

// depthLimit reads the limit parameter: the default where it is absent, the maximum where it is more.
func (s *Server) depthLimit(query url.Values) (limit int, refusal *answer) {
	if !query.Has("limit") {
		return s.rules.defaultLimit, nil
	}
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 0 {
		return 0, badRequest(-1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.")
	}
	if s.rules.maxLimit > 0 {
		limit = min(limit, s.rules.maxLimit)
	}
	if s.rules.depthWeight(limit) == 0 {
		return 0, badRequest(-1130, "Data sent for parameter 'limit' is not valid.")
	}
	return limit, nil
}

// depthWeight is the weight of a depth request; a refused one weighs 1.
func (s *Server) depthWeight(query url.Values) int {
	limit, refusal := s.depthLimit(query)
	if refusal != nil {
		return 1
	}
	return s.rules.depthWeight(limit)
}

// depth serves a snapshot: the book at the last border, or as the faults and the playback have it.
func (s *Server) depth(query url.Values) *answer {
	limit, refusal := s.depthLimit(query)
	if refusal != nil {
		return refusal
	}
	y, refusal := s.symbolParam(query)
	if refusal != nil {
		return refusal
	}
	status, refusal := statusParam(query)
	switch {
	case refusal != nil:
		return refusal
	case status != "" && status != y.Status:
		return badRequest(-1220, "The symbol does not match the status.")
	}
	if s.replay != nil {
		switch body, hold := s.replay.snapshot(y, limit); {
		case hold != nil:
			return &answer{hold: hold}
		case body != nil:
			return s.snapshotAnswer(y, body)
		}
	}
	if !y.known {
		return apiError(http.StatusServiceUnavailable, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes.")
	}
	var st *state
	switch back := y.faults.staleBy(); {
	case back > 0:
		st = y.atBorder(back)
	case y.faults.midBatch() || s.cfg.MidBatchSnapshots:
		st = y.midBatch()
	default:
		st = y.atBorder(0)
	}
	snap := st.snapshot(limit)
	return s.snapshotAnswer(y, s.encode.snapshot(y, &snap, s.now()))
}

func (s *Server) snapshotAnswer(y *symbolState, body []byte) *answer {
	y.faults.afterSnapshot()
	return &answer{status: http.StatusOK, body: body, delay: max(s.faults.snapshotDelay(), y.faults.rest.snapshotDelay())}
}
