package binance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
)

// Bounds of what is done for missing trades. Reaching one of the last two is an error in Hooks.TradeGap.
const (
	// backfillPatience is how long trades stay pending while those before them are fetched. Beyond, they
	// are used, and the fetched ones come after them.
	backfillPatience = 30 * time.Second
	// backfillTime bounds the fetching of one missing range, most of which it may wait for request weight:
	// after an outage of many symbols the books go first.
	backfillTime = time.Hour
	// maxBackfills is how many missing ranges of a stream wait while another one is being fetched.
	maxBackfills = 16
)

// ErrTradesMissing says that trades were missed and could not all be fetched. It comes with
// Hooks.TradeGap.
var ErrTradesMissing = errors.New("binance: trades are missing")

// A backfill fetches a missing range of trades, which no connection has brought.
type backfill struct {
	first, last int64 // the missing ids
	begun       time.Time
	late        map[int64]bool // those that a lagging connection has brought since; nil if there are none
}

// brought notes a trade that a connection has brought meanwhile.
func (g *backfill) brought(id int64) {
	if g == nil || id < g.first || id > g.last {
		return
	}
	if g.late == nil {
		g.late = make(map[int64]bool)
	}
	g.late[id] = true
}

func (g *backfill) len() int64 { return g.last - g.first + 1 }

// A backfiller runs the backfills of a shard.
type backfiller struct {
	client  *Client
	max     int // trades of one backfill
	count   *counters
	running *sync.WaitGroup // the shard's
}

// A backfilled func takes the result of a backfill, on a goroutine of its own.
type backfilled func(*backfill, history, error)

// A history is what the exchange has of a missing range.
type history struct {
	trades []marketprism.Trade // in the order of their ids
	broken int64               // aggregates of no trade and at price 0, which are left out
	until  int64               // the id up to which no more will come: that of the last row, at most the range's last
}

// begin starts to fetch the trades between the sequence and next, and reports whether those from next on
// are to wait for them. It reports those that cannot be fetched. One missing range of a stream is fetched
// at a time; another one waits until then, and its trades come after those that follow them.
func (bf *backfiller) begin(ctx context.Context, now time.Time, sub *subscription, next int64, done backfilled) bool {
	a := &sub.arbiter
	g := &backfill{first: a.lastID + 1, last: next - 1, begun: now}
	if a.backfill != nil {
		if g.first = max(g.first, a.backfill.last+1); g.first > g.last {
			return false
		}
	}
	bf.count.tradeGaps.Add(1)
	_, err := bf.client.tradesQuery("", sub.isAggregate(), 0)
	switch {
	case err != nil:
	case g.len() > int64(bf.max):
		err = fmt.Errorf("%w: more than %d", ErrTradesMissing, max(bf.max, 0))
	case len(a.backfills) == maxBackfills:
		err = fmt.Errorf("%w: %d other ranges wait", ErrTradesMissing, maxBackfills)
	}
	switch {
	case err != nil:
		bf.report(now, sub, g, TradeGapInfo{Err: err})
		return false
	case a.backfill != nil:
		a.backfills = append(a.backfills, g)
		return false
	}
	bf.start(ctx, sub, g, done)
	return true
}

// start fetches a missing range.
func (bf *backfiller) start(ctx context.Context, sub *subscription, g *backfill, done backfilled) {
	sub.arbiter.backfill = g
	ctx, cancel := context.WithTimeout(ctx, backfillTime)
	bf.running.Go(func() {
		defer cancel()
		past, err := bf.fetch(ctx, sub, g)
		if ctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("%w: not fetched within %v", ErrTradesMissing, backfillTime)
		}
		done(g, past, err)
	})
}

// startNext fetches the next missing range that waits, if there is one.
func (bf *backfiller) startNext(ctx context.Context, sub *subscription, done backfilled) {
	a := &sub.arbiter
	if len(a.backfills) > 0 {
		g := a.backfills[0]
		a.backfills = a.backfills[1:]
		bf.start(ctx, sub, g, done)
	}
}

// fetch returns what the exchange has of the missing trades.
func (bf *backfiller) fetch(ctx context.Context, sub *subscription, g *backfill) (past history, err error) {
	past.until = g.first - 1
	for past.until < g.last {
		from := past.until + 1
		page, err := bf.client.trades(ctx, sub.book.instrument.Symbol, sub.isAggregate(), from)
		if err != nil {
			return past, err
		}
		for _, t := range page {
			switch {
			case t.ID < from || t.ID > g.last:
			case t.Aggregate && t.FirstID < 0:
				past.broken++
			default:
				past.trades = append(past.trades, t)
			}
			past.until = max(past.until, min(t.ID, g.last))
		}
		if past.until < from {
			break
		}
	}
	return past, nil
}

// result compares a missing range with the trades that were fetched and those that connections have brought meanwhile.
//
// developers.binance.com, USDⓈ-M and COIN-M Futures, Recent Trades List and Old Trades Lookup: "Market trades
// means trades filled in the order book. Only market trades will be returned, which means the insurance fund
// trades and ADL trades won't be returned." So the ids that this history passes over are no trades of the
// market, and are not missing.
func (bf *backfiller) result(sub *subscription, g *backfill, past history, cause error) (info TradeGapInfo) {
	info.Err = cause
	absent := g.len() - int64(len(g.late)) - past.broken
	for i := range past.trades {
		if !g.late[past.trades[i].ID] {
			absent--
		}
	}
	missing := absent
	if bf.client.market.name != marketprism.Spot && !sub.isAggregate() {
		missing = g.last - past.until
		for id := range g.late {
			if id > past.until {
				missing--
			}
		}
	}
	info.Others = int(absent - missing)
	switch {
	case missing == 0:
		info.Err = nil
	case cause == nil:
		info.Err = fmt.Errorf("%w: the exchange does not have %d of them", ErrTradesMissing, missing)
	}
	return info
}

// report calls the TradeGap hook at the end of a backfill, with what info says besides.
func (bf *backfiller) report(now time.Time, sub *subscription, g *backfill, info TradeGapInfo) {
	bf.count.tradesBackfilled.Add(uint64(info.Backfilled))
	info.Instrument, info.Aggregate = sub.book.instrument, sub.isAggregate()
	info.FirstID, info.LastID, info.Elapsed = g.first, g.last, now.Sub(g.begun)
	hook.Call(bf.client.hooks.TradeGap, info)
}
