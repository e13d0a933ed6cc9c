package orderbook_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

func TestJoinerScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/joiner/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			runScript(t, path, new(joinerWorld).run)
		})
	}
}

// A joinerContract holds every Output of a Joiner against what is promised: folding the events into an
// oracle gives exactly Book(), an Update comes only within a span and skips no id, a Snapshot within a
// span is at the id of the book, and the counters add up.
type joinerContract struct {
	cfg    orderbook.JoinerConfig
	joiner *orderbook.Joiner
	book   *oracleBook
	synced bool
	fresh  bool
	stats  orderbook.SyncerStats // as counted from outside
}

func newJoinerContract(cfg orderbook.JoinerConfig) (*joinerContract, error) {
	j, err := orderbook.NewJoiner(cfg)
	return &joinerContract{cfg: cfg, joiner: j, book: newOracleBook()}, err
}

func (c *joinerContract) join(e orderbook.Event) (orderbook.Output, error) {
	if e.Update != nil {
		c.stats.Received++
	}
	out := c.joiner.Join(e)
	return out, c.check(out)
}

func (c *joinerContract) check(out orderbook.Output) error {
	if out.Fetch != 0 {
		return errors.New("a Joiner fetches nothing")
	}
	for _, e := range out.Events {
		switch {
		case e.Snapshot != nil:
			if c.synced && e.Snapshot.LastID != c.book.lastID {
				return fmt.Errorf("a snapshot at %d within a span at %d", e.Snapshot.LastID, c.book.lastID)
			}
			c.stats.Snapshots++
			c.fresh = true
			c.synced = true
			c.book.reset(e.Snapshot)
		case e.Update != nil:
			u, id := e.Update, c.book.lastID
			if !c.synced {
				return errors.New("an update outside a span")
			}
			again := c.cfg.Continuity == orderbook.Linked && u.LastID == id
			if !(c.fresh && (id == -1 || again) || c.cfg.Continuity.Follows(id, u)) {
				return fmt.Errorf("update %d-%d after %d", u.FirstID, u.LastID, id)
			}
			c.stats.Applied++
			c.fresh = false
			c.book.apply(u)
		default:
			if e.Gap.After != c.book.lastID {
				return fmt.Errorf("a gap after %d, the book is at %d", e.Gap.After, c.book.lastID)
			}
			c.stats.Gaps++
			c.synced = false
		}
		c.book.prune(c.cfg.MaxDepth)
	}
	if a := out.Audit; a != nil {
		c.stats.Audits++
		c.stats.Differences += uint64(a.Different)
		if a.Swapped {
			c.stats.Swaps++
		}
	}
	if synced := c.joiner.State() == orderbook.Synced; synced != c.synced {
		return fmt.Errorf("state %v, the events say synced %t", c.joiner.State(), c.synced)
	}
	if !c.synced {
		return c.count()
	}
	return errors.Join(c.book.differs(c.joiner.Book()), c.count())
}

func (c *joinerContract) count() error {
	got := c.joiner.Stats()
	want := c.stats
	want.Dropped, want.TooOld, want.Discarded, want.Buffered = got.Dropped, got.TooOld, got.Discarded, got.Buffered
	if got != want {
		return fmt.Errorf("stats %+v, counted %+v", got, want)
	}
	if limit := c.cfg.MaxPending; limit > 0 && got.Buffered > limit {
		return fmt.Errorf("%d are pending, the bound is %d", got.Buffered, limit)
	}
	if left := got.Received - got.Applied - got.Dropped - uint64(got.Buffered); left > got.Discarded {
		return fmt.Errorf("%d updates are unaccounted for", left-got.Discarded)
	}
	return nil
}

// A joinerWorld carries out the commands of a Joiner's script.
type joinerWorld struct {
	c   *joinerContract
	now time.Time // the ReceivedAt of records; the command received sets it
}

func (w *joinerWorld) run(command string) (string, error) {
	verb, rest, _ := strings.Cut(command, " ")
	args := strings.Fields(rest)
	switch verb {
	case "new":
		return "", w.create(args)
	case "received":
		d, err := time.ParseDuration(rest)
		w.now = scriptStart.Add(d)
		return "", err
	case "book":
		text, err := w.c.joiner.Book().AppendText(nil)
		return string(text), err
	case "stats":
		return formatJoinerStats(w.c.joiner.Stats()), nil
	}
	out, err := w.step(verb, args)
	return formatOutput(out) + w.status(), err
}

func (w *joinerWorld) create(args []string) error {
	cfg := orderbook.JoinerConfig{MaxPending: 100, MaxStale: 100}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		number, _ := strconv.Atoi(value)
		switch key {
		case "spot":
		case "futures":
			cfg.Continuity = orderbook.Linked
		case "replace":
			cfg.Replace = true
		case "pending":
			cfg.MaxPending = number
		case "bytes":
			cfg.MaxPendingBytes = number
		case "stale":
			cfg.MaxStale = number
		case "depth":
			cfg.MaxDepth = number
		default:
			return fmt.Errorf("unknown setting %q", arg)
		}
	}
	w.now = time.Time{}
	var err error
	w.c, err = newJoinerContract(cfg)
	return err
}

func (w *joinerWorld) step(verb string, args []string) (orderbook.Output, error) {
	e := orderbook.Event{ReceivedAt: w.now}
	var err error
	switch verb {
	case "update":
		e.Update, err = parseUpdate(args)
	case "snapshot":
		_, e.Snapshot, err = parseSnapshot(append([]string{"#1"}, args...))
	case "gap":
		e.Gap, err = parseGap(args)
	case "reset":
		g, err := parseGap(append([]string{"0"}, args...))
		if err != nil {
			return orderbook.Output{}, err
		}
		out := w.c.joiner.Reset(*g)
		return out, w.c.check(out)
	case "jump":
		out := w.c.joiner.Jump()
		return out, w.c.check(out)
	default:
		err = errors.New("unknown command")
	}
	if err != nil {
		return orderbook.Output{}, err
	}
	return w.c.join(e)
}

// parseGap reads "AFTER REASON [CAUSE...]".
func parseGap(args []string) (*orderbook.Gap, error) {
	if len(args) < 2 {
		return nil, errors.New("want: gap AFTER REASON")
	}
	after, err := strconv.ParseInt(args[0], 10, 64)
	reason, err2 := orderbook.ParseGapReason(args[1])
	g := &orderbook.Gap{After: after, Reason: reason}
	if len(args) > 2 {
		g.Err = orderbook.Cause(strings.Join(args[2:], " "))
	}
	return g, errors.Join(err, err2)
}

// status is the last line of every step.
func (w *joinerWorld) status() string {
	j := w.c.joiner
	line := j.State().String()
	if j.State() == orderbook.Synced {
		line += fmt.Sprintf(" at %d, best %s", j.Book().LastID(), formatLevels(top(j.Book().BestBid()), top(j.Book().BestAsk())))
	}
	if n := j.Stats().Buffered; n > 0 {
		line += fmt.Sprintf(", %d pending", n)
	}
	if j.Ahead() {
		line += ", a snapshot waits"
	}
	return line + "\n"
}

func formatJoinerStats(s orderbook.SyncerStats) string {
	return fmt.Sprintf("received %d, applied %d, dropped %d, discarded %d, pending %d; gaps %d; snapshots %d, too old %d; audits %d, differences %d, swaps %d\n",
		s.Received, s.Applied, s.Dropped, s.Discarded, s.Buffered, s.Gaps, s.Snapshots, s.TooOld, s.Audits, s.Differences, s.Swaps)
}

func TestJoinerConfig(t *testing.T) {
	for _, cfg := range []orderbook.JoinerConfig{{Continuity: 9}, {MaxPending: -1}, {MaxPendingBytes: -1}} {
		if _, err := orderbook.NewJoiner(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

// Applying updates allocates nothing, nor does keeping them once there is room.
func TestJoinerAllocates(t *testing.T) {
	j, err := orderbook.NewJoiner(orderbook.JoinerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	level := []orderbook.Level{{Price: 100, Quantity: 1}, {Price: 99, Quantity: 2}}
	j.Join(orderbook.Event{Snapshot: &orderbook.Snapshot{LastID: 1, Bids: level}})
	u := &orderbook.Update{FirstID: 1, LastID: 1, Bids: level}
	if n := testing.AllocsPerRun(1000, func() {
		u.FirstID, u.LastID = u.LastID+1, u.LastID+1
		j.Join(orderbook.Event{Update: u})
	}); n != 0 {
		t.Errorf("%v allocations an update", n)
	}
	if j.State() != orderbook.Synced || j.Stats().Applied != 1001 {
		t.Errorf("%+v", j.Stats())
	}
}
