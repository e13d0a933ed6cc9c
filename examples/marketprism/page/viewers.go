package page

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// viewers hold the open pages of each client.
type viewers struct {
	max int

	mu       sync.Mutex
	open     int
	byClient map[string][]*viewer // oldest first
}

// A viewer is an open page.
type viewer struct {
	client  string
	evicted chan struct{} // closed when another client takes its place
}

func newViewers(limit int) *viewers {
	return &viewers{max: limit, byClient: make(map[string][]*viewer)}
}

// enter returns the new viewer of a client; nil if all places are taken by clients that have no more than this one would.
func (vs *viewers) enter(client string) *viewer {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.open >= vs.max {
		most := client
		for _, c := range slices.Sorted(maps.Keys(vs.byClient)) {
			if len(vs.byClient[c]) > len(vs.byClient[most]) {
				most = c
			}
		}
		if len(vs.byClient[most]) <= len(vs.byClient[client])+1 {
			return nil
		}
		oldest := vs.byClient[most][0]
		close(oldest.evicted)
		vs.remove(oldest)
	}
	v := &viewer{client: client, evicted: make(chan struct{})}
	vs.byClient[client] = append(vs.byClient[client], v)
	vs.open++
	return v
}

func (vs *viewers) leave(v *viewer) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.remove(v)
}

// remove does nothing if v was removed before.
func (vs *viewers) remove(v *viewer) {
	i := slices.Index(vs.byClient[v.client], v)
	if i < 0 {
		return
	}
	vs.open--
	if vs.byClient[v.client] = slices.Delete(vs.byClient[v.client], i, i+1); len(vs.byClient[v.client]) == 0 {
		delete(vs.byClient, v.client)
	}
}

const (
	keepPast   = 5 * time.Second // how long an answer of the archive is given again
	maxAnswers = 64
)

// past bounds the queries of the archive, and keeps its answers for a while.
type past struct {
	reads chan struct{} // one element per running query

	mu       sync.Mutex
	byClient map[string]int // queries that run or wait
	answers  map[pastKey]pastAnswer
}

type pastKey struct {
	symbol string
	ms     int64
}

type pastAnswer struct {
	status int
	state  pastState
	until  time.Time
}

// errTooMany means that a client has too many queries running and waiting.
var errTooMany = errors.New("page: too many requests for past books at a time")

func newPast(reads int) *past {
	return &past{reads: make(chan struct{}, reads), byClient: make(map[string]int), answers: make(map[pastKey]pastAnswer)}
}

// answer returns the kept answer of a query, or that of read once a place is free. The error is errTooMany or ctx's.
func (p *past) answer(ctx context.Context, client string, key pastKey, read func() (int, pastState)) (int, pastState, error) {
	p.mu.Lock()
	if a, ok := p.answers[key]; ok && time.Now().Before(a.until) {
		p.mu.Unlock()
		return a.status, a.state, nil
	}
	if p.byClient[client] >= cap(p.reads) {
		p.mu.Unlock()
		return 0, pastState{}, errTooMany
	}
	p.byClient[client]++
	p.mu.Unlock()
	defer p.done(client)
	select {
	case p.reads <- struct{}{}:
		defer func() { <-p.reads }()
	case <-ctx.Done():
		return 0, pastState{}, ctx.Err()
	}
	status, state := read()
	p.keep(key, pastAnswer{status, state, time.Now().Add(keepPast)})
	return status, state, nil
}

func (p *past) done(client string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byClient[client]--; p.byClient[client] == 0 {
		delete(p.byClient, client)
	}
}

// keep keeps an answer, except that of a failure.
func (p *past) keep(key pastKey, a pastAnswer) {
	if a.status >= 500 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.answers) >= maxAnswers {
		maps.DeleteFunc(p.answers, func(_ pastKey, old pastAnswer) bool { return !time.Now().Before(old.until) })
	}
	if len(p.answers) < maxAnswers {
		p.answers[key] = a
	}
}
