package binance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
)

// fillTime is how long trades wait for those before them to be fetched. Beyond, they go on, and what
// is fetched comes after them.
const fillTime = 30 * time.Second

// ErrTradesMissing says that trades were missed and could not all be fetched. It comes with
// Hooks.TradeGap.
var ErrTradesMissing = errors.New("binance: trades are missing")

// A backfill fetches trades that no connection has brought.
type backfill struct {
	first, last int64 // the ids missing
	begun       time.Time
	brought     map[int64]bool // of those, by a connection that was behind; nil if none was
}

// bring notes a trade that a connection has brought meanwhile.
func (g *backfill) bring(id int64) {
	if g == nil || id < g.first || id > g.last {
		return
	}
	if g.brought == nil {
		g.brought = make(map[int64]bool)
	}
	g.brought[id] = true
}

// fill begins to fetch the trades between the sequence and next, if there are any and they can be
// had; else they are reported as missed.
func (f *shard) fill(st *stream, next int64) bool {
	m := &st.merge
	if !m.begun || next <= m.at+1 {
		return false
	}
	gap := &backfill{first: m.at + 1, last: next - 1, begun: f.now}
	aggregate := strings.HasSuffix(st.name, aggTradeSuffix)
	if m.filling != nil { // one hole is fetched at a time
		if gap.first = max(gap.first, m.filling.last+1); gap.first <= gap.last {
			f.count.tradeGaps.Add(1)
			f.filled(st, aggregate, gap, 0, fmt.Errorf("%w: others are being fetched", ErrTradesMissing))
		}
		return false
	}
	f.count.tradeGaps.Add(1)
	_, err := f.syncer.client.tradesQuery("", aggregate, 0)
	if most := f.syncer.cfg.MaxTradeFill; err == nil && gap.last-gap.first >= int64(most) {
		err = fmt.Errorf("%w: more than %d", ErrTradesMissing, max(most, 0))
	}
	if err != nil {
		f.filled(st, aggregate, gap, 0, err)
		return false
	}
	m.filling = gap
	ctx, cancel := context.WithTimeout(f.life, fillTime)
	f.running.Go(func() {
		defer cancel()
		trades, err := f.fetchTrades(ctx, st.symbol.instrument.Symbol, aggregate, gap)
		at := time.Now().UTC()
		f.tasks.post(func(ctx context.Context) error { return f.insert(ctx, st, aggregate, gap, trades, at, err) })
	})
	return true
}

// fetchTrades returns those of the missing trades that the exchange gives. The history has broken aggregates,
// of no trade and at price 0, which are none.
func (f *shard) fetchTrades(ctx context.Context, symbol string, aggregate bool, gap *backfill) (found []marketprism.Trade, err error) {
	broken := int64(0)
	for from := gap.first; from <= gap.last; {
		page, err := f.syncer.client.trades(ctx, symbol, aggregate, from)
		if err != nil {
			return found, err
		}
		before := from
		for _, t := range page {
			switch {
			case t.ID < from || t.ID > gap.last:
			case t.Aggregate && t.FirstID < 0:
				broken++
			default:
				found = append(found, t)
			}
			from = max(from, t.ID+1)
		}
		if from == before {
			break
		}
	}
	if missing := gap.last - gap.first + 1 - int64(len(found)) - broken; missing > 0 {
		return found, fmt.Errorf("%w: the exchange does not give %d of them", ErrTradesMissing, missing)
	}
	return found, nil
}

// insert makes records of the fetched trades, before those that have waited for them.
func (f *shard) insert(ctx context.Context, st *stream, aggregate bool, gap *backfill, trades []marketprism.Trade, at time.Time, cause error) error {
	m := &st.merge
	if m.filling != gap || f.streams[st.name] != st {
		return nil
	}
	m.filling = nil
	filled := 0
	for i := range trades {
		t := &trades[i]
		if gap.brought[t.ID] {
			continue
		}
		filled++
		if err := f.tell(ctx, st, t, t.TradeTime, at); err != nil {
			return err
		}
	}
	m.at = max(m.at, gap.last)
	if int64(len(gap.brought)) == gap.last-gap.first+1 {
		cause = nil
	}
	f.filled(st, aggregate, gap, filled, cause)
	return f.release(ctx, st, false)
}

func (f *shard) filled(st *stream, aggregate bool, gap *backfill, filled int, err error) {
	f.count.tradesFilled.Add(uint64(filled))
	hook.Call(f.syncer.client.hooks.TradeGap, TradeGapInfo{
		Instrument: st.symbol.instrument, Aggregate: aggregate, FirstID: gap.first, LastID: gap.last,
		Filled: filled, Elapsed: f.now.Sub(gap.begun), Err: err,
	})
}
