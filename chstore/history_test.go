package chstore_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// A history is what collectors store of a random market: each of them is an orderbook.Syncer whose connection ends and
// loses updates, and whose snapshots are late and at times too old. The market may be wiped.
type history struct {
	rng        *rand.Rand
	instrument marketprism.Instrument
	now        time.Time
	epoch      int
	wipes      []time.Time
	seen       int // wipes that a collector has noticed
	book       orderbook.Book
	changes    []orderbook.Update  // of one id each, in this epoch
	trades     []marketprism.Trade // in this epoch
	past       []orderbook.Snapshot
	truth      map[place]string
	firstTrade int64 // id of the first of trades
	collectors []*collector
	recs       []marketprism.Record
}

// A place is an id of an epoch.
type place struct {
	epoch int
	id    int64
}

type collector struct {
	sync      *orderbook.Syncer
	lag       time.Duration
	next      int // of the changes that it gets
	trade     int // of the trades
	lastID    int64
	lastSent  time.Time
	online    time.Time // when it connects; zero while it is connected
	fetch     orderbook.FetchID
	answersAt time.Time
	answer    orderbook.Snapshot
}

func newHistory(seed uint64, m marketprism.Market, collectors int) *history {
	h := &history{
		rng: rand.New(rand.NewPCG(seed, 99)), instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: m, Symbol: fmt.Sprintf("H%d", seed)},
		now: time.Date(2026, 3, 1, 23, 59, 50, 0, time.UTC), truth: make(map[place]string),
	}
	h.start(10_000)
	for range collectors {
		s, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: m.Continuity(), MaxStale: -1})
		if err != nil {
			panic(err)
		}
		c := &collector{sync: s, lag: time.Duration(1+h.rng.IntN(60)) * time.Millisecond, lastID: -1}
		h.collectors = append(h.collectors, c)
		h.emit(c, nil, s.Connected(h.now))
	}
	return h
}

// start begins an epoch at an id.
func (h *history) start(id int64) {
	snap := orderbook.Snapshot{
		LastID: id, Bids: []orderbook.Level{levelOf(1000-int64(h.epoch), 7)}, Asks: []orderbook.Level{levelOf(1001, 7+int64(h.epoch))},
	}
	h.book.Reset(&snap)
	h.changes, h.past, h.trades = nil, nil, nil
	h.firstTrade = 1 + id/2 - id/3
	h.note()
}

func (h *history) note() {
	text, _ := h.book.AppendText(nil)
	h.truth[place{h.epoch, h.book.LastID()}] = string(text)
	snap := h.book.Snapshot()
	if h.instrument.Market != marketprism.Spot {
		snap.EventTime = h.now
	} else {
		snap.EventTime = time.Time{}
	}
	h.past = append(h.past, snap)
}

// change makes a change of one id.
func (h *history) change() {
	u := orderbook.Update{FirstID: h.book.LastID() + 1, PrevLastID: h.book.LastID(), EventTime: h.now}
	u.LastID = u.FirstID
	if h.instrument.Market != marketprism.Spot {
		u.LastID += h.rng.Int64N(3)
		u.FirstID = u.LastID
	}
	if level := levelOf(h.rng.Int64N(20), h.rng.Int64N(4)); h.rng.IntN(2) == 0 {
		level.Price = 1000*orderbook.One - level.Price
		u.Bids = []orderbook.Level{level}
	} else {
		level.Price += 1001 * orderbook.One
		u.Asks = []orderbook.Level{level}
	}
	h.book.Apply(&u)
	h.changes = append(h.changes, u)
	h.note()
	for range h.rng.IntN(3) {
		h.trades = append(h.trades, marketprism.Trade{ID: h.firstTrade + int64(len(h.trades)), Price: orderbook.One, Quantity: 1, TradeTime: h.now})
	}
}

// wipe begins a new epoch. Unnoticed, no collector is connected for some time.
func (h *history) wipe(unnoticed bool) {
	offline := func(c *collector) bool { return !c.online.IsZero() || c.lastID < 0 }
	id := h.book.LastID()
	unnoticed = unnoticed || slices.ContainsFunc(h.collectors, offline)
	if unnoticed {
		for _, c := range h.collectors {
			h.disconnect(c, 7*time.Second)
		}
		h.now = h.now.Add(6 * time.Second)
	}
	h.epoch++
	h.wipes = append(h.wipes, h.now.Add(time.Millisecond))
	h.now = h.now.Add(time.Millisecond)
	if unnoticed {
		h.start([]int64{0, id/2 - 200, id - 300}[h.rng.IntN(3)])
	} else {
		h.seen++
		h.start([]int64{0, id - 300, id - 20, id - 10}[h.rng.IntN(4)])
	}
	h.change()
	for _, c := range h.collectors {
		if c.next, c.trade = 0, 0; !offline(c) {
			h.update(c, h.cut(c), h.now.Add(c.lag))
		}
	}
}

// run lets time pass.
func (h *history) run(steps int) {
	for range steps {
		h.now = h.now.Add(50 * time.Millisecond)
		for range h.rng.IntN(3) {
			h.change()
		}
		for _, c := range h.collectors {
			h.step(c)
		}
	}
}

func (h *history) step(c *collector) {
	at := h.now.Add(c.lag)
	switch {
	case !c.online.IsZero() && h.now.Before(c.online):
		return
	case !c.online.IsZero():
		c.online, c.next, c.lastID, c.trade = time.Time{}, len(h.changes), -1, len(h.trades)
		h.emit(c, nil, c.sync.Connected(at))
	case h.rng.IntN(80) == 0:
		h.disconnect(c, time.Duration(h.rng.IntN(3000))*time.Millisecond)
		return
	}
	for ; c.trade < len(h.trades); c.trade++ {
		t := h.trades[c.trade]
		h.recs = append(h.recs, marketprism.Record{Instrument: h.instrument, EventTime: h.now, ReceivedAt: at, Trade: &t})
	}
	if h.rng.IntN(2) == 0 && c.next < len(h.changes) {
		u := h.cut(c)
		if h.rng.IntN(40) > 0 {
			h.update(c, u, at)
		}
	}
	h.emit(c, nil, c.sync.Tick(at))
	if c.fetch != 0 && !at.Before(c.answersAt) {
		id := c.fetch
		c.fetch = 0
		h.emit(c, nil, c.sync.Snapshot(at, id, &c.answer))
		if h.rng.IntN(10) == 0 { // a Gap at the moment of the snapshot
			h.disconnect(c, time.Duration(h.rng.IntN(3000))*time.Millisecond)
		}
	}
}

// cut returns the update of what has changed for a collector.
func (h *history) cut(c *collector) *orderbook.Update {
	part := h.changes[c.next:]
	c.next = len(h.changes)
	u := &orderbook.Update{FirstID: part[0].FirstID, LastID: part[len(part)-1].LastID, EventTime: h.now}
	if h.instrument.Market != marketprism.Spot {
		u.PrevLastID = part[0].PrevLastID
	}
	for _, p := range part {
		u.Bids, u.Asks = append(u.Bids, p.Bids...), append(u.Asks, p.Asks...)
	}
	return u
}

func (h *history) update(c *collector, u *orderbook.Update, at time.Time) {
	if c.lastID >= 0 && u.LastID < c.lastID && u.EventTime.After(c.lastSent) {
		h.emit(c, u, c.sync.Resync(at, orderbook.Gap{Reason: orderbook.GapRegressed}))
	}
	c.lastID, c.lastSent = u.LastID, u.EventTime
	h.emit(c, u, c.sync.UpdateReceived(at, at, u))
}

func (h *history) disconnect(c *collector, d time.Duration) {
	at := h.now.Add(c.lag)
	c.fetch, c.online = 0, h.now.Add(d)
	h.emit(c, nil, c.sync.Disconnected(at, nil))
}

// emit stores what a Syncer emits, and answers its fetch.
func (h *history) emit(c *collector, u *orderbook.Update, out orderbook.Output) {
	at := h.now.Add(c.lag)
	for _, e := range out.Events {
		r := marketprism.Record{Instrument: h.instrument, ReceivedAt: at, Update: e.Update, Snapshot: e.Snapshot, Gap: e.Gap}
		switch {
		case e.Update != nil:
			r.EventTime, r.ReceivedAt = e.Update.EventTime, e.ReceivedAt
		case e.Snapshot != nil:
			r.EventTime = e.Snapshot.EventTime
		case e.Gap.Reason == orderbook.GapRegressed && u != nil:
			r.EventTime = u.EventTime
		}
		h.recs = append(h.recs, r.Clone())
	}
	if out.Fetch != 0 {
		c.fetch, c.answersAt = out.Fetch, at.Add(time.Duration(h.rng.IntN(600))*time.Millisecond)
		behind := 0
		if h.rng.IntN(3) == 0 {
			behind = h.rng.IntN(min(6, len(h.past)))
		}
		c.answer = h.past[len(h.past)-1-behind]
	}
}

// moment draws a time near that of a record.
func (h *history) moment() time.Time {
	return h.recs[h.rng.IntN(len(h.recs))].Time().Add(time.Duration(h.rng.IntN(3)-1) * time.Millisecond)
}

// epochAt returns the epoch of a time of the exchange.
func (h *history) epochAt(t time.Time) int {
	n := 0
	for n < len(h.wipes) && !t.Before(h.wipes[n]) {
		n++
	}
	return n
}

// A plainReader keeps the contract of marketprism.Record and nothing else.
type plainReader struct {
	h       *history
	book    orderbook.Book
	synced  bool
	visited map[place]bool
	problem string
}

func (p *plainReader) read(recs []marketprism.Record) {
	p.visited = make(map[place]bool)
	for i := range recs {
		if p.problem == "" {
			p.readOne(&recs[i])
		}
	}
}

func (p *plainReader) readOne(r *marketprism.Record) {
	at := -1
	switch {
	case r.Gap != nil:
		p.synced = false
		return
	case r.Trade != nil:
		return
	case r.Snapshot != nil:
		p.book.Reset(r.Snapshot)
		p.synced = true
	case !p.synced || r.Update.LastID <= p.book.LastID():
		return
	default:
		p.book.Apply(r.Update)
		at = p.h.epochAt(r.EventTime)
	}
	bytes, _ := p.book.AppendText(nil)
	text := string(bytes)
	for epoch := range p.h.epoch + 1 {
		where := place{epoch, p.book.LastID()}
		if (at < 0 || at == epoch) && p.h.truth[where] == text {
			p.visited[where] = true
			return
		}
	}
	p.problem = fmt.Sprintf("%s of %s: the book is none that the exchange had", r.Key(), r.Time().Format(time.StampMicro))
}

func describe(recs []marketprism.Record) (text string) {
	for i := range recs {
		text += fmt.Sprintf("\n%s received %s %s", recs[i].Time().Format("05.000"), recs[i].ReceivedAt.Format("05.000"), recs[i].Key()[len("binance:spot:"):])
	}
	return text
}

// eachHistory runs a test on random histories: with one collector and two, without a wipe, with one and two, some of them
// unnoticed.
func eachHistory(t *testing.T, seeds int, test func(t *testing.T, h *history, s *chstore.Store, db *chtest.DB)) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{})
	for seed := range uint64(seeds) {
		m := []marketprism.Market{marketprism.Spot, marketprism.USDM}[seed%2]
		t.Run(fmt.Sprintf("%d", seed), func(t *testing.T) {
			h := newHistory(seed, m, 1+int(seed/2)%2)
			h.run(60)
			for range int(seed/4) % 3 {
				h.wipe(h.rng.IntN(3) == 0)
				h.run(60)
			}
			stored := slices.Clone(h.recs)
			h.rng.Shuffle(len(stored), func(i, j int) { stored[i], stored[j] = stored[j], stored[i] })
			require.NoError(t, s.Write(t.Context(), stored))
			test(t, h, s, db)
		})
	}
}

// A plain reader of what Replay gives has the exchange's book at each id, whatever was lost, and has every book that
// BookAt has.
func TestReplayKeepsTheContract(t *testing.T) {
	eachHistory(t, 12, func(t *testing.T, h *history, s *chstore.Store, _ *chtest.DB) {
		var got sinktest.Recorder
		require.NoError(t, s.Replay(t.Context(), chstore.ReplayQuery{Instruments: []marketprism.Instrument{h.instrument}}, chstore.ReplayConfig{}, &got))
		p := plainReader{h: h}
		p.read(got.Records())
		require.Empty(t, p.problem, "%s", describe(got.Records()))
		for i := 0; i < len(h.recs); i += 1 + h.rng.IntN(40) {
			r := &h.recs[i]
			if r.Update == nil {
				continue
			}
			book, err := s.BookAt(t.Context(), h.instrument, r.EventTime)
			where := place{h.epochAt(r.EventTime), r.Update.LastID}
			if err != nil {
				require.ErrorAs(t, err, new(*chstore.MissingError))
				require.False(t, p.visited[where], "%s: %v: %s", r.Key(), err, describe(got.Records()))
				continue
			}
			where.id = book.LastID()
			text, _ := book.AppendText(nil)
			require.Equal(t, h.truth[where], string(text), "%s", r.Key())
			require.True(t, p.visited[where], "%s at %v: %s", r.Key(), r.EventTime, describe(got.Records()))
		}
	})
}

// Books and BookAt agree at every time, whenever the reader begins, and a missing range ends when they say it does.
func TestBooksAgreesWithBookAt(t *testing.T) {
	eachHistory(t, 12, func(t *testing.T, h *history, s *chstore.Store, _ *chtest.DB) {
		for _, from := range []time.Time{{}, h.moment()} {
			all := states(t, s, chstore.BookQuery{Instrument: h.instrument, From: from})
			require.True(t, len(all) > 0 || !from.IsZero())
			for range 4 {
				if at := h.moment(); !at.Before(from) {
					h.compare(t, s, all, from, at)
				}
			}
		}
	})
}

// compare compares BookAt with the states of Books from a time on.
func (h *history) compare(t *testing.T, s *chstore.Store, all []chstore.BookState, from, at time.Time) {
	t.Helper()
	i := -1
	for i+1 < len(all) && !all[i+1].At.After(at) {
		i++
	}
	book, err := s.BookAt(t.Context(), h.instrument, at)
	if i < 0 {
		require.True(t, err != nil || !from.IsZero(), "from %v at %v", from, at)
		return // the first state comes with the first record
	}
	want := all[i]
	var missing *chstore.MissingError
	if want.Missing != nil {
		require.ErrorAs(t, err, &missing, "from %v at %v %v%s", from, at, want.Missing, describe(h.recs))
		missing.At = want.Missing.At
		require.Equal(t, want.Missing, missing, "from %v at %v%s", from, at, describe(h.recs))
		return
	}
	require.NoError(t, err, "from %v at %v, Books has %d from %v on%s", from, at, want.Book.LastID(), want.At, describe(h.recs))
	require.Equal(t, want.Book.LastID(), book.LastID(), "from %v at %v%s", from, at, describe(h.recs))
	text, _ := book.AppendText(nil)
	wanted, _ := want.Book.AppendText(nil)
	require.Equal(t, string(wanted), string(text))
}

// Check counts what the collectors of random histories missed, by ids, and takes no wipe for a missing range, whoever saw
// it: of updates and trades, or of trades alone.
func TestCheckOfHistories(t *testing.T) {
	eachHistory(t, 12, func(t *testing.T, h *history, s *chstore.Store, _ *chtest.DB) {
		alone := slices.DeleteFunc(slices.Clone(h.recs), func(r marketprism.Record) bool { return r.Trade == nil })
		for i := range alone {
			alone[i].Instrument.Symbol += "TRADES"
		}
		require.NoError(t, s.Write(t.Context(), alone))
		all := [][]marketprism.Record{h.recs, alone}
		if h.seen > 0 {
			all = all[:1] // a collector that follows books says when: the ids may pass the old ones before clocks show it
		}
		for _, recs := range all {
			r := check(t, s, chstore.CheckQuery{Instruments: []marketprism.Instrument{recs[0].Instrument}, Silence: -1, SkipBooks: true})
			found := map[chstore.CheckName]uint64{}
			for _, f := range r.Findings {
				found[f.Check] += f.Count
			}
			updates, trades := h.missingRanges(recs)
			require.Equal(t, trades, found[chstore.CheckMissingTrades], "%s %v%s", r.String(), h.wipes, describe(recs))
			require.Equal(t, updates, found[chstore.CheckMissingUpdates], "%s %v%s", r.String(), h.wipes, describe(recs))
		}
	})
}

// missingRanges counts the missing ranges of ids of updates and trades, in each epoch.
func (h *history) missingRanges(recs []marketprism.Record) (updates, trades uint64) {
	byEpoch := make(map[int][]*orderbook.Update)
	ids := make(map[int][]int64)
	for i := range recs {
		epoch := h.epochAt(recs[i].Time())
		if u := recs[i].Update; u != nil {
			byEpoch[epoch] = append(byEpoch[epoch], u)
		} else if k := recs[i].Trade; k != nil {
			ids[epoch] = append(ids[epoch], k.ID)
		}
	}
	for _, all := range byEpoch {
		slices.SortFunc(all, func(u, v *orderbook.Update) int {
			return cmp.Or(cmp.Compare(u.FirstID, v.FirstID), cmp.Compare(u.LastID, v.LastID))
		})
		last := all[0].LastID
		for _, u := range all[1:] {
			if h.instrument.Market.Continuity().Predecessor(u) > last {
				updates++
			}
			last = max(last, u.LastID)
		}
	}
	for _, all := range ids {
		slices.Sort(all)
		for i, id := range all[1:] {
			if id > all[i]+1 {
				trades++
			}
		}
	}
	return updates, trades
}

// The view book_at gives the book of BookAt in random histories.
func TestBookAtViewOfHistories(t *testing.T) {
	eachHistory(t, 8, func(t *testing.T, h *history, s *chstore.Store, db *chtest.DB) {
		for range 2 {
			_, err := checkBookView(t.Context(), db.Conn, s, h.instrument, h.moment())
			require.NoError(t, err, "%s", describe(h.recs))
		}
	})
}
