package orderbook_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

func scripts(t *testing.T) []string {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	return paths
}

func TestScripts(t *testing.T) {
	for _, path := range scripts(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			runScript(t, path, new(scriptWorld).run)
		})
	}
}

// The edge cases of keeping a local Binance order book are numbered. A script shows each of them, for
// every market that has it.
func TestScriptsCoverEveryCase(t *testing.T) {
	shown := map[string]bool{}
	for _, path := range scripts(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(text), "#") {
			t.Errorf("%s does not begin with what it proves", path)
		}
		for _, heading := range scriptHeadings(string(text)) {
			if m := regexp.MustCompile(`^(spot|futures), row (\w+): `).FindStringSubmatch(heading); m != nil {
				shown[m[1]+" "+m[2]] = true
			}
		}
	}
	rows := []string{"18a", "18b"}
	for row := 1; row <= 22; row++ {
		rows = append(rows, strconv.Itoa(row))
	}
	for _, row := range rows {
		for _, market := range []string{"spot", "futures"} {
			if row == "18b" && market == "spot" {
				continue // it depends on pu, which spot does not have
			}
			if !shown[market+" "+row] {
				t.Errorf("no script shows row %s for %s", row, market)
			}
		}
	}
}

// A scriptWorld carries out the commands of a script. Its clock begins at 0 and moves by the command
// wait alone. Several symbols are distinguished by a prefix "name:"; each has a Syncer of its own,
// checked by a contract.
type scriptWorld struct {
	now     time.Time
	symbols map[string]*contract
}

var scriptStart = time.Unix(0, 0).UTC()

func (w *scriptWorld) run(command string) (string, error) {
	name, rest, found := strings.Cut(command, ": ")
	if !found || strings.Contains(name, " ") {
		name, rest = "", command
	}
	args := strings.Fields(rest)
	switch verb := args[0]; verb {
	case "new":
		return "", w.create(name, args[1:])
	case "wait":
		return w.wait(args[1:])
	default:
		c := w.symbols[name]
		if c == nil {
			return "", fmt.Errorf("no symbol %q", name)
		}
		out, err := w.step(c, verb, args[1:])
		return prefixed(name, out), err
	}
}

// create makes a symbol, and a new world if it has no name.
func (w *scriptWorld) create(name string, args []string) error {
	if name == "" {
		*w = scriptWorld{now: scriptStart, symbols: map[string]*contract{}}
	}
	cfg := orderbook.SyncerConfig{
		MaxBuffered: 100, MaxBufferedBytes: 1 << 20, MaxStale: 100,
		SnapshotTimeout: 10 * time.Second, RetryMin: 250 * time.Millisecond, RetryMax: 4 * time.Second,
	}
	for i, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		number, _ := strconv.Atoi(value)
		switch {
		case i == 0 && arg == "spot":
			cfg.Continuity = orderbook.Contiguous
		case i == 0 && arg == "futures":
			cfg.Continuity = orderbook.Linked
		case key == "buffer":
			cfg.MaxBuffered = number
		case key == "bytes":
			cfg.MaxBufferedBytes = number
		case key == "stale":
			cfg.MaxStale = number
		case key == "depth":
			cfg.MaxDepth = number
		case key == "refresh-depth":
			cfg.RefreshDepth = number
		case key == "refresh-every":
			cfg.RefreshEvery, _ = time.ParseDuration(value)
		case arg == "timeout=none":
			cfg.SnapshotTimeout = -1
		default:
			return fmt.Errorf("unknown setting %q", arg)
		}
	}
	c, err := newContract(cfg)
	w.symbols[name] = c
	return err
}

func (w *scriptWorld) step(c *contract, verb string, args []string) (string, error) {
	var (
		out orderbook.Output
		err error
	)
	switch verb {
	case "connect":
		out, err = c.connected(w.now)
	case "disconnect":
		out, err = c.disconnected(w.now, errors.New(strings.Join(args, " ")))
	case "update":
		u, parseErr := parseUpdate(args)
		if parseErr != nil {
			return "", parseErr
		}
		out, err = c.update(w.now, u)
	case "snapshot":
		id, s, parseErr := parseSnapshot(args)
		if parseErr != nil {
			return "", parseErr
		}
		out, err = c.snapshot(w.now, id, s)
	case "fail":
		id, parseErr := parseFetch(args)
		if parseErr != nil {
			return "", parseErr
		}
		out, err = c.snapshotFailed(w.now, id, errors.New(strings.Join(args[1:], " ")))
	case "resync":
		reason, parseErr := orderbook.ParseGapReason(args[0])
		if parseErr != nil {
			return "", parseErr
		}
		out, err = c.resync(w.now, orderbook.Gap{Reason: reason, Err: errors.New(strings.Join(args[1:], " "))})
	case "refresh":
		out, err = c.refreshNow(w.now)
	case "corrupt":
		var u orderbook.Update
		if err := parseLevels(args, &u.Bids, &u.Asks); err != nil {
			return "", err
		}
		c.corrupt(&u)
	case "tick":
		out, err = c.tick(w.now)
	case "book":
		text, err := c.syncer.Book().AppendText(nil)
		return string(text), err
	case "known":
		return formatKnown(c.syncer.Book()), nil
	case "stats":
		stats, _ := formatStats(c)
		return stats, nil
	case "refreshes":
		_, refreshes := formatStats(c)
		return refreshes, nil
	default:
		return "", errors.New("unknown command")
	}
	return formatOutput(out) + w.status(c), err
}

// wait moves the clock, and ticks at every deadline on the way.
func (w *scriptWorld) wait(args []string) (string, error) {
	if len(args) != 1 {
		return "", errors.New("want: wait DURATION")
	}
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return "", err
	}
	var trace strings.Builder
	end := w.now.Add(d)
	for {
		name, c := w.nextDeadline()
		if c == nil || c.syncer.Deadline().After(end) {
			break
		}
		w.now = c.syncer.Deadline()
		out, err := c.tick(w.now)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&trace, "at %v\n%s", w.now.Sub(scriptStart), prefixed(name, formatOutput(out)+w.status(c)))
	}
	w.now = end
	if trace.Len() == 0 {
		return "nothing was due\n", nil
	}
	return trace.String(), nil
}

func (w *scriptWorld) nextDeadline() (first string, c *contract) {
	for name, candidate := range w.symbols {
		at := candidate.syncer.Deadline()
		if at.IsZero() {
			continue
		}
		if c == nil || at.Before(c.syncer.Deadline()) || at.Equal(c.syncer.Deadline()) && name < first {
			first, c = name, candidate
		}
	}
	return first, c
}

// status returns the last line of every step: what a reader of the Syncer sees.
func (w *scriptWorld) status(c *contract) string {
	s := c.syncer
	line := s.State().String()
	switch s.State() {
	case orderbook.Synced:
		line += fmt.Sprintf(" at %d, best %s", s.Book().LastID(), formatLevels(top(s.Book().BestBid()), top(s.Book().BestAsk())))
		if s.Book().Crossed() {
			line += ", crossed"
		}
		if c.refreshing() {
			line += fmt.Sprintf(", refreshing with %d kept", s.Stats().Kept)
		}
	case orderbook.Buffering:
		line += fmt.Sprintf(", %d pending", s.Stats().Buffered)
	}
	if at := s.Deadline(); !at.IsZero() {
		line += fmt.Sprintf(", tick at %v", at.Sub(scriptStart))
	}
	return line + "\n"
}

func top(level orderbook.Level, ok bool) []orderbook.Level {
	if !ok {
		return nil
	}
	return []orderbook.Level{level}
}

func formatOutput(out orderbook.Output) string {
	var b strings.Builder
	for _, e := range out.Events {
		switch {
		case e.Snapshot != nil:
			fmt.Fprintf(&b, "  snapshot %d: %s%s\n", e.Snapshot.LastID, formatLevels(e.Snapshot.Bids, e.Snapshot.Asks), formatBounds(e.Snapshot))
		case e.Update != nil:
			fmt.Fprintf(&b, "  update %d-%d: %s\n", e.Update.FirstID, e.Update.LastID, formatLevels(e.Update.Bids, e.Update.Asks))
		case e.Gap != nil && e.Gap.Err != nil:
			fmt.Fprintf(&b, "  gap after %d: %v: %v\n", e.Gap.After, e.Gap.Reason, e.Gap.Err)
		case e.Gap != nil:
			fmt.Fprintf(&b, "  gap after %d: %v\n", e.Gap.After, e.Gap.Reason)
		}
	}
	if out.Audit != nil {
		b.WriteString(formatAudit(out.Audit))
	}
	if out.Fetch != 0 {
		fmt.Fprintf(&b, "  fetch #%d\n", out.Fetch)
	}
	return b.String()
}

func formatAudit(a *orderbook.Audit) string {
	if a.Err != nil {
		return fmt.Sprintf("  no audit at %d: %v\n", a.LastID, a.Err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  audit at %d: %d levels compared, %d different", a.LastID, a.Compared, a.Different)
	if a.Swapped {
		b.WriteString(", swapped")
	}
	b.WriteString("\n")
	for _, d := range a.Differences {
		fmt.Fprintf(&b, "    %v %v: had %v, fresh %v\n", d.Side, d.Price, d.Had, d.Fresh)
	}
	return b.String()
}

func formatBounds(s *orderbook.Snapshot) string {
	var out string
	for i, bound := range []orderbook.Bound{s.BidBound, s.AskBound} {
		if bound.Limited {
			out += fmt.Sprintf(", %vs to %v", orderbook.Side(i), bound.Price)
		}
	}
	return out
}

// formatStats returns the counters, those of refreshes separately.
func formatStats(c *contract) (stats, refreshes string) {
	text := strings.ReplaceAll(fmt.Sprintf("%+v", c.syncer.Stats()), ":", " ")
	stats, refreshes, _ = strings.Cut(text, " Refreshes ")
	return stats + "}\n", "{Refreshes " + refreshes + "\n"
}

// formatKnown returns the known depth of each side, as price and number of levels.
func formatKnown(b *orderbook.Book) string {
	var out strings.Builder
	for _, side := range []orderbook.Side{orderbook.Bid, orderbook.Ask} {
		reach := "to the end"
		if bound, limited := b.Known(side); limited {
			reach = "to " + bound.String()
		}
		fmt.Fprintf(&out, "%v known %s: %d levels\n", side, reach, b.KnownDepth(side))
	}
	return out.String()
}

func formatLevels(bids, asks []orderbook.Level) string {
	var parts []string
	for i, side := range [][]orderbook.Level{bids, asks} {
		if len(side) > 0 {
			parts = append(parts, [...]string{"bid", "ask"}[i])
		}
		for _, level := range side {
			parts = append(parts, level.Price.String()+"="+level.Quantity.String())
		}
	}
	if len(parts) == 0 {
		return "empty"
	}
	return strings.Join(parts, " ")
}

func prefixed(name, text string) string {
	if name == "" {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(name + ": " + line)
	}
	return b.String()
}

// parseUpdate reads "FIRST-LAST [pu PREV] [bid PRICE=QUANTITY...] [ask PRICE=QUANTITY...]".
func parseUpdate(args []string) (*orderbook.Update, error) {
	u := &orderbook.Update{}
	if len(args) == 0 {
		return nil, errors.New("want: update FIRST-LAST")
	}
	if _, err := fmt.Sscanf(args[0], "%d-%d", &u.FirstID, &u.LastID); err != nil {
		return nil, err
	}
	args = args[1:]
	if len(args) >= 2 && args[0] == "pu" {
		if _, err := fmt.Sscan(args[1], &u.PrevLastID); err != nil {
			return nil, err
		}
		args = args[2:]
	}
	return u, parseLevels(args, &u.Bids, &u.Asks)
}

// parseSnapshot reads "#FETCH LAST [limit N] [bid PRICE=QUANTITY...] [ask PRICE=QUANTITY...]".
func parseSnapshot(args []string) (orderbook.FetchID, *orderbook.Snapshot, error) {
	id, err := parseFetch(args)
	if err != nil || len(args) < 2 {
		return 0, nil, errors.New("want: snapshot #FETCH LAST")
	}
	s := &orderbook.Snapshot{}
	if _, err := fmt.Sscan(args[1], &s.LastID); err != nil {
		return 0, nil, err
	}
	limit := 0
	if args = args[2:]; len(args) >= 2 && args[0] == "limit" {
		if _, err := fmt.Sscan(args[1], &limit); err != nil {
			return 0, nil, err
		}
		args = args[2:]
	}
	err = parseLevels(args, &s.Bids, &s.Asks)
	s.SetLimit(limit)
	return id, s, err
}

func parseFetch(args []string) (id orderbook.FetchID, err error) {
	if len(args) == 0 {
		return 0, errors.New("want a fetch: #1")
	}
	_, err = fmt.Sscanf(args[0], "#%d", &id)
	return id, err
}

// parseLevels reads numbers in the venue's form, so that a script can show forms of zero.
func parseLevels(args []string, bids, asks *[]orderbook.Level) error {
	side := (*[]orderbook.Level)(nil)
	for _, arg := range args {
		if i := slices.Index([]string{"bid", "ask"}, arg); i >= 0 {
			side = []*[]orderbook.Level{bids, asks}[i]
			continue
		}
		price, quantity, ok := strings.Cut(arg, "=")
		if side == nil || !ok {
			return fmt.Errorf("%q is not a level of a side", arg)
		}
		var level orderbook.Level
		if err := errors.Join(level.Price.UnmarshalText([]byte(price)), level.Quantity.UnmarshalText([]byte(quantity))); err != nil {
			return err
		}
		*side = append(*side, level)
	}
	return nil
}
