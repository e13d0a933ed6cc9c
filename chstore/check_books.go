package chstore

import (
	"context"
	"fmt"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// checkBooks rebuilds the book of an instrument. Each stored snapshot is compared with the book that the updates
// make of the one before it, and no update may leave the book crossed or a side of it empty.
func (c *checker) checkBooks(ctx context.Context, i marketprism.Instrument) error {
	c.report.Checks++
	joiner, err := orderbook.NewJoiner(orderbook.JoinerConfig{Continuity: i.Market.Continuity(), MaxPending: maxPending, MaxStale: -1})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	f, err := openContractFeed(ctx, c.db, Query{Instrument: i, Kinds: bookKinds(), From: c.q.From, To: c.q.To}, &recordPool{})
	defer f.close()
	defer cancel() // before close, which would otherwise read all remaining rows
	if err != nil {
		return err
	}
	book := bookCheck{joiner: joiner, continuity: i.Market.Continuity()}
	for {
		r, err := f.next(ctx)
		if err != nil {
			return err
		}
		if r == nil {
			book.addFindings(i, c.report)
			return nil
		}
		book.apply(&r.rec, r.at)
		f.pool.put(r)
	}
}

// A bookCheck holds what is wrong with one instrument's book.
type bookCheck struct {
	joiner *orderbook.Joiner
	sent   time.Time // of the snapshot to be compared next

	// The first update of all may not follow its snapshot: no check of the updates alone sees that.
	updated      bool
	missing      bool
	missingAfter int64
	missingAt    time.Time

	crossed, empty uint64    // updates that left the book so
	unsound        time.Time // of the first

	compared, wrong uint64
	first           time.Time
	detail          string // of the first

	continuity orderbook.Continuity
	claimed    idClaim // by the snapshot of the highest id
	restarted  idClaim // by a Gap that says that the ids went back after this one
	refuted    uint64  // claims that the updates after them contradict
	refutedAt  time.Time
	refutedBy  string // detail of the first
}

// An idClaim is an update id that a record claims, until updates confirm or contradict it; zero if there is none.
type idClaim struct {
	id int64
	at time.Time
}

// contradictAfter is how long after a snapshot updates of lower ids still count as late: collectors hand on what waited for
// a snapshot within seconds, and their clocks differ.
const contradictAfter = 10 * time.Second

// claim checks what records claim about ids against the updates after them. A publisher may send a Gap that says that the
// ids went back, and a snapshot of any id: a book then begins from that, and no later update belongs to it.
func (c *bookCheck) claim(rec *marketprism.Record, at time.Time) {
	switch u := rec.Update; {
	case rec.Gap != nil:
		c.claimed, c.restarted = idClaim{}, idClaim{rec.Gap.After, at}
	case rec.Snapshot != nil && rec.ReceivedAt.Year() < 1971: // by which it is out of place; CheckTimes reports it
	case rec.Snapshot != nil && rec.Snapshot.LastID > c.claimed.id:
		c.claimed = idClaim{rec.Snapshot.LastID, at}
	case u == nil:
	case !c.restarted.at.IsZero() && u.FirstID <= c.restarted.id && u.LastID <= c.restarted.id:
		c.restarted = idClaim{}
	case !c.restarted.at.IsZero() && c.continuity.Follows(c.restarted.id, u):
		c.refute(c.restarted, fmt.Sprintf("a gap says that ids went back after %d, and update %d goes on from there", c.restarted.id, u.LastID))
		c.restarted = idClaim{}
	case c.claimed.id == 0:
	case u.LastID >= c.claimed.id:
		c.claimed = idClaim{}
	case at.Sub(c.claimed.at) > contradictAfter:
		c.refute(c.claimed, fmt.Sprintf("a snapshot has id %d, and an update %v later is only at %d", c.claimed.id, at.Sub(c.claimed.at), u.LastID))
		c.claimed = idClaim{}
	}
}

func (c *bookCheck) refute(claim idClaim, detail string) {
	if c.refuted++; c.refuted == 1 {
		c.refutedAt, c.refutedBy = claim.at, detail
	}
}

func (c *bookCheck) apply(rec *marketprism.Record, at time.Time) {
	if rec.Gap != nil && rec.Gap.Reason != orderbook.GapRegressed {
		return // only ids count here: the book goes on, and is compared, where they prove that it can
	}
	c.claim(rec, at)
	if rec.Snapshot != nil && rec.Snapshot.LastID >= c.joiner.Book().LastID() {
		c.sent = rec.Time()
	}
	out := c.joiner.Join(bookEvent(rec))
	applied := false
	for _, e := range out.Events {
		switch {
		case e.Update != nil:
			applied = true
		case e.Snapshot != nil && c.missing && e.Snapshot.LastID == c.missingAfter:
			c.missing = false // the updates come after all
		case e.Gap != nil && rec.Update != nil && !c.updated:
			c.missing, c.missingAfter, c.missingAt = true, e.Gap.After, at
		}
	}
	c.updated = c.updated || rec.Update != nil
	if applied {
		c.look(c.joiner.Book(), at)
	}
	if out.Audit != nil {
		c.compare(out.Audit)
	}
}

// look counts a book that cannot be right.
func (c *bookCheck) look(book *orderbook.Book, at time.Time) {
	switch {
	case emptied(book, orderbook.Bid, book.BidCount()) || emptied(book, orderbook.Ask, book.AskCount()):
		c.empty++
	case book.Crossed():
		c.crossed++
	default:
		return
	}
	if c.unsound.IsZero() {
		c.unsound = at
	}
}

// emptied reports whether a side has no level. One that is known down to a limit may have some beyond it.
func emptied(book *orderbook.Book, side orderbook.Side, levels int) bool {
	_, limited := book.Known(side)
	return levels == 0 && !limited
}

// compare counts a snapshot that is not the book.
func (c *bookCheck) compare(a *orderbook.Audit) {
	c.compared++
	if a.Different == 0 {
		return
	}
	if c.wrong++; c.wrong == 1 {
		c.first = c.sent
		c.detail = fmt.Sprintf("at update id %d %d levels differ, one of them at %s", a.LastID, a.Different, a.Differences[0].Price)
	}
}

// addFindings reports what is wrong with the book of an instrument.
func (c *bookCheck) addFindings(i marketprism.Instrument, r *Report) {
	if c.missing {
		r.add(Finding{
			Check: CheckMissingUpdates, Table: depthTable.name(), Instrument: i, Count: 1, First: c.missingAt,
			Detail: fmt.Sprintf("after the snapshot at id %d", c.missingAfter),
		})
	}
	if n := c.crossed + c.empty; n > 0 {
		r.add(Finding{
			Check: CheckCrossed, Table: depthTable.name(), Instrument: i, Count: n, First: c.unsound,
			Detail: fmt.Sprintf("%d crossed, %d with an empty side", c.crossed, c.empty),
		})
	}
	if c.refuted > 0 {
		r.add(Finding{Check: CheckSnapshots, Table: depthTable.name(), Instrument: i, Count: c.refuted, First: c.refutedAt, Detail: c.refutedBy})
	}
	if c.wrong > 0 {
		r.add(Finding{
			Check: CheckSnapshots, Table: snapshotTable.name(), Instrument: i, Count: c.wrong, First: c.first,
			Detail: fmt.Sprintf("of %d compared; %s", c.compared, c.detail),
		})
	}
}
