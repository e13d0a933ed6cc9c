package page

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/orderbook"
)

// A client with all places loses some to others, until each has its share.
func TestViewersShare(t *testing.T) {
	vs := newViewers(4)
	var first []*viewer
	for range 4 {
		first = append(first, vs.enter("a"))
	}
	require.Nil(t, vs.enter("a"), "its own do not make room")
	b := vs.enter("b")
	require.NotNil(t, b)
	<-first[0].evicted
	vs.leave(first[0]) // as its request ends
	require.NotNil(t, vs.enter("b"))
	<-first[1].evicted
	require.Nil(t, vs.enter("b"), "two each")
	require.NotNil(t, vs.enter("c"))
	vs.leave(b)
	require.NotNil(t, vs.enter("c"))
	require.Equal(t, 4, vs.open)
}

// A slowArchive blocks until it is released.
type slowArchive struct {
	running chan struct{}
	release chan struct{}
}

func (a *slowArchive) BookAt(ctx context.Context, _ marketprism.Instrument, _ time.Time) (*orderbook.Book, error) {
	a.running <- struct{}{}
	select {
	case <-a.release:
		return nil, chstore.ErrNoSnapshot
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func ask(p *Page, from, symbol string, at time.Time) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://localhost/api/book?symbol="+symbol+"&at="+strconv.FormatInt(at.UnixMilli(), 10), nil)
	r.RemoteAddr = from + ":1"
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// However many past books are asked for, few are read at a time; a client that asks for too many is refused, others wait and get theirs.
func TestPastIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		archive := &slowArchive{running: make(chan struct{}, 100), release: make(chan struct{})}
		p, err := New(Config{Feed: &binance.DepthSyncer{}, Archive: archive, ArchiveReads: 2})
		require.NoError(t, err)
		now := time.Now()
		codes := make(chan int, 300)
		for i := range 299 {
			go func() { codes <- ask(p, "10.0.0.1", "S"+strconv.Itoa(i), now).Code }()
		}
		synctest.Wait()
		require.Len(t, archive.running, 2)
		require.Len(t, codes, 297, "all others are refused at once")
		go func() { codes <- ask(p, "10.0.0.2", "X", now).Code }()
		synctest.Wait()
		require.Len(t, archive.running, 2, "another client waits")
		close(archive.release)
		synctest.Wait()
		require.Len(t, archive.running, 3)
		require.Len(t, codes, 300)
		counted := make(map[int]int)
		for range 300 {
			counted[<-codes]++
		}
		require.Equal(t, map[int]int{http.StatusTooManyRequests: 297, http.StatusNotFound: 3}, counted)

		require.Equal(t, http.StatusNotFound, ask(p, "10.0.0.3", "X", now).Code)
		require.Len(t, archive.running, 3, "the answer is kept")
		time.Sleep(keepPast)
		require.Equal(t, http.StatusNotFound, ask(p, "10.0.0.3", "X", now).Code)
		require.Len(t, archive.running, 4)
		require.Empty(t, p.past.byClient)
	})
}

func TestPastAnswersAreBounded(t *testing.T) {
	p := newPast(1)
	for i := range 10 * maxAnswers {
		_, _, err := p.answer(t.Context(), "a", pastKey{"S", int64(i)}, func() (int, pastState) { return http.StatusOK, pastState{} })
		require.NoError(t, err)
	}
	require.Len(t, p.answers, maxAnswers)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.reads <- struct{}{}
	_, _, err := p.answer(ctx, "a", pastKey{"T", 0}, nil)
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
}

func TestPastRange(t *testing.T) {
	archive := &slowArchive{running: make(chan struct{}, 1), release: make(chan struct{})}
	p, err := New(Config{Feed: &binance.DepthSyncer{}, Archive: archive})
	require.NoError(t, err)
	for _, at := range []time.Time{time.Now().Add(48 * time.Hour), time.UnixMilli(-1)} {
		require.Equal(t, http.StatusBadRequest, ask(p, "10.0.0.1", "X", at).Code)
	}
	require.Equal(t, http.StatusBadRequest, ask(p, "10.0.0.1", strings.Repeat("A", maxSymbol+1), time.Now()).Code)
	require.Empty(t, archive.running)
}
