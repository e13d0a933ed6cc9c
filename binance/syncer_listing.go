package binance

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
)

// listingNumber is the number, beside those of connections, from which the delays of the first listing are drawn,
// and the one before it those of later ones.
const listingNumber = math.MaxUint64

// A SymbolFilter chooses symbols by the exchange's listing. The zero value chooses all that trade.
type SymbolFilter struct {
	QuoteAssets []string                 // "USDT"; empty means all
	Statuses    []string                 // empty means TRADING alone
	Keep        func(s *SymbolInfo) bool // called for what the others choose, must not change s; nil means all

	// Max bounds the symbols that a filter adds, the first of a listing: each takes memory, request weight and
	// connections. What is chosen beyond it is not followed, and reported by Hooks.SymbolsChanged and Stats.LeftOut. 0
	// means 5000, twice what trades on all markets together; negative means no bound.
	Max int
}

// room returns how many symbols the filter may add to those that it has added already.
func (f *SymbolFilter) room(have int) int {
	switch {
	case f.Max < 0:
		return math.MaxInt
	case f.Max == 0:
		return max(0, 5000-have)
	}
	return max(0, f.Max-have)
}

// Match reports whether the filter chooses a symbol.
func (f *SymbolFilter) Match(s *SymbolInfo) bool {
	switch {
	case len(f.QuoteAssets) > 0 && !slices.Contains(f.QuoteAssets, s.QuoteAsset):
		return false
	case len(f.Statuses) == 0 && !s.Trading():
		return false
	case len(f.Statuses) > 0 && !slices.Contains(f.Statuses, s.Status):
		return false
	}
	return f.Keep == nil || f.Keep(s)
}

// firstListing makes sure that the exchange lists every symbol, since it acknowledges a subscription of
// one that does not exist and then sends nothing. It asks again while the exchange cannot be reached, is busy, or
// answers with something else than a listing, and once more before it believes that a symbol is not listed.
func (d *DepthSyncer) firstListing(ctx context.Context) error {
	if d.cfg.SkipSymbolCheck && d.cfg.AllTrading == nil {
		return nil
	}
	delays := backoff.Backoff{Min: d.cfg.ReconnectMin, Max: d.cfg.ReconnectMax, Rand: d.cfg.random(listingNumber)}
	var unknown, before *UnknownSymbolsError
	d.waitForListing(nil, time.Time{})
	for {
		l, err := d.list(ctx, PriorityCall)
		if err == nil && !d.cfg.SkipSymbolCheck {
			err = d.unknown(unlisted(l.statuses, d.named()), l.statuses)
		}
		if err == nil {
			if believed, err := d.applyListing(l); believed || err != nil {
				return err
			}
		}
		var refused *APIError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused) && !refused.Temporary():
			return err
		case errors.As(err, &unknown):
			if before != nil && slices.Equal(before.Symbols, unknown.Symbols) {
				return err
			}
			before = unknown
		}
		delay := delays.Next()
		d.waitForListing(err, time.Now().Add(delay))
		if err := backoff.Sleep(ctx, delay); err != nil {
			return err
		}
	}
}

// waitForListing notes that the books wait for the first listing, why the latest attempt to get one has failed, and when the
// next one begins; the zero time is the begin of the first.
func (d *DepthSyncer) waitForListing(cause error, next time.Time) {
	if next.IsZero() {
		d.waiting.SetWait(marketprism.Wait{For: marketprism.WaitSymbols})
	} else {
		d.waiting.AttemptFailed(marketprism.WaitSymbols, cause, next)
	}
	for _, b := range d.books.All() {
		b.SetWait(d.waiting.Wait())
	}
}

// A listing is what the exchange lists, in the view of a DepthSyncer.
type listing struct {
	*ExchangeInfo
	statuses map[string]string // by symbol; "" if it could not be read
	missing  []string          // the symbols of the DepthSyncer that it lacks, and that were listed before
	unread   bool              // the status of one of its symbols could not be read
}

func (d *DepthSyncer) listingOf(info *ExchangeInfo) *listing {
	l := &listing{ExchangeInfo: info, statuses: statusesOf(info)}
	for _, b := range d.books.All() {
		status, listed := l.statuses[b.instrument.Symbol]
		l.unread = l.unread || listed && status == ""
		if old := b.listing.Load(); !listed && old != nil && *old != "" {
			l.missing = append(l.missing, b.instrument.Symbol)
		}
	}
	return l
}

// list asks the exchange which symbols it lists.
func (d *DepthSyncer) list(ctx context.Context, p Priority) (*listing, error) {
	l, report, err := d.askListing(ctx, p)
	report()
	return l, err
}

// askListing is list without a call of Hooks.ListingDone, which report makes.
func (d *DepthSyncer) askListing(ctx context.Context, p Priority) (l *listing, report func(), err error) {
	start := time.Now()
	info, err := d.client.exchangeInfo(ctx, p, nil)
	done := ListingInfo{Elapsed: time.Since(start), Err: err}
	if err == nil {
		l = d.listingOf(info)
		d.lister.note(l.statuses, start)
		d.unread.Store(int64(info.Unread))
		done.Symbols, done.Unread, done.Invalid, done.Missing = len(info.Symbols), info.Unread, info.Invalid, len(l.missing)
	}
	return l, func() { hook.Call(d.client.hooks.ListingDone, done) }, err
}

// relistMin and PollEvery bound the delay before the next listing after one that failed, was not believed, or did not
// say the status of a symbol: it doubles from the first to the second.
const relistMin = 2 * time.Second

// poll lists the symbols every PollEvery until ctx ends: spot has no stream of their statuses. Failures
// are reported by Hooks.ListingDone.
func (d *DepthSyncer) poll(ctx context.Context) {
	if d.cfg.PollEvery < 0 {
		return
	}
	delays := backoff.Backoff{Min: relistMin, Max: max(relistMin, d.cfg.PollEvery), Rand: d.cfg.random(listingNumber - 1)}
	for wait := d.cfg.PollEvery; backoff.Sleep(ctx, wait) == nil; {
		l, err := d.list(ctx, PriorityPoll)
		believed := false
		if err == nil {
			if believed, err = d.applyListing(l); err != nil {
				return // Run ends
			}
		}
		if wait = d.cfg.PollEvery; believed && !l.unread {
			delays.Reset()
		} else {
			wait = min(wait, relistMin/2+delays.Next())
		}
	}
}

// applyListing notes the statuses of the symbols, and with AllTrading adds and removes symbols. It reports
// whether it believes the listing. It does not believe one that lacks symbols which the last one had, and
// changes nothing: they are delisted once the next listing lacks them too. Of a symbol whose status cannot
// be read nothing changes; with AllTrading a first listing that has no other symbols is not believed either.
func (d *DepthSyncer) applyListing(l *listing) (believed bool, err error) {
	before := d.missing
	d.missing = l.missing
	if slices.ContainsFunc(l.missing, func(symbol string) bool { return !slices.Contains(before, symbol) }) {
		return false, nil
	}
	for _, b := range d.books.All() {
		d.noteStatus(b, l.statuses)
	}
	if d.cfg.AllTrading == nil {
		return true, nil
	}
	chosen, stays := d.cfg.AllTrading.choose(l.Symbols) // with no lock held, since it calls Keep
	added, removed, leftOut, err := d.adopt(chosen, stays)
	if err != nil {
		return false, err
	}
	changed := d.leftOut.Swap(int64(leftOut)) != int64(leftOut)
	for _, symbol := range added {
		if b := d.books.Get(symbol); b != nil {
			d.noteStatus(b, l.statuses)
		}
	}
	if len(d.books.Keys()) == 0 && l.Unread > 0 && !d.listed.Load() {
		return false, nil
	}
	d.listed.Store(true)
	d.books.Changed()
	if len(added)+len(removed) > 0 || changed {
		hook.Call(d.client.hooks.SymbolsChanged, SymbolsInfo{Added: added, Removed: removed, Symbols: len(d.books.Keys()), LeftOut: leftOut})
	}
	return true, nil
}

// choose returns the symbols that the filter chooses, and those that may stay: also one of which the filter needs
// something that could not be read.
func (f *SymbolFilter) choose(symbols []SymbolInfo) (chosen []string, stays map[string]bool) {
	stays = make(map[string]bool)
	for i := range symbols {
		s := &symbols[i]
		switch unread := s.Status == "" || s.QuoteAsset == "" && len(f.QuoteAssets) > 0; {
		case unread:
			stays[s.Symbol] = true
		case f.Match(s):
			stays[s.Symbol] = true
			chosen = append(chosen, s.Symbol)
		}
	}
	return chosen, stays
}

// adopt adds the chosen symbols and removes those that do not stay, unless the program named them. leftOut is how many of
// the chosen ones have no room.
func (d *DepthSyncer) adopt(chosen []string, stays map[string]bool) (added, removed []string, leftOut int, err error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	have := 0
	for _, b := range d.books.All() {
		switch symbol := b.instrument.Symbol; {
		case b.named:
		case stays[symbol]:
			have++
		default:
			removed = append(removed, symbol)
		}
	}
	room := d.cfg.AllTrading.room(have)
	for _, symbol := range chosen {
		switch {
		case d.books.Get(symbol) != nil:
		case len(added) == room:
			leftOut++
		default:
			added = append(added, symbol)
		}
	}
	if err := d.add(added, false); err != nil {
		return nil, nil, 0, err
	}
	d.remove(removed)
	return added, removed, leftOut, nil
}

// noteStatus reports a change of a symbol's status; "" means that it is not listed. What the exchange
// does to update ids during a halt is not documented, so a book is refreshed when trading starts again.
func (d *DepthSyncer) noteStatus(b *symbolBook, statuses map[string]string) {
	status, listed := statuses[b.instrument.Symbol]
	if listed && status == "" {
		return // it could not be read
	}
	old := b.listing.Swap(&status)
	if old == nil || *old == status {
		return
	}
	hook.Call(d.client.hooks.StatusChanged, StatusInfo{Instrument: b.instrument, From: *old, To: status})
	if status == statusTrading {
		_ = d.Refresh(b.instrument.Symbol) // not if it is not synced, or was removed
	}
}

// named returns the symbols that the program named.
func (d *DepthSyncer) named() (names []string) {
	d.changing.Lock()
	defer d.changing.Unlock()
	for _, b := range d.books.All() {
		if b.named {
			names = append(names, b.instrument.Symbol)
		}
	}
	return names
}
