package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rivo/uniseg"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/examples/plain"
	"github.com/marketprism/marketprism/orderbook"
)

// A picture is what is shown of one symbol at one moment.
type picture struct {
	symbols   []string
	chosen    int
	simulated bool

	state orderbook.State
	id    int64
	note  string // why the book is not synced, or how the exchange lists it
	gap   string // the last one

	bids, asks []orderbook.Level // best first; none if not synced
	measures   measures
	trades     []marketprism.Trade // newest first
	age        time.Duration       // since the book's last change
	latency    time.Duration       // from the exchange's clock to this one's, at the last change
}

// measures are those of a book; ok is false if a side is empty.
type measures struct {
	ok                    bool
	mid, spread           orderbook.Fixed
	microprice, imbalance float64
}

func measure(b *orderbook.Book, levels int) (m measures) {
	m.mid, _, m.ok = b.FixedMid()
	m.spread, _ = b.Spread()
	m.microprice, _ = b.Microprice()
	m.imbalance, _ = b.Imbalance(levels)
	return m
}

// bps returns the spread in hundredths of a percent of the mid.
func (m *measures) bps() float64 {
	if m.mid == 0 {
		return 0
	}
	return m.spread.Float64() / m.mid.Float64() * 1e4
}

// appendText adds the picture as one block for a pipe: the asks above the bids, the touch in the middle.
func (p *picture) appendText(page []byte) []byte {
	page = fmt.Appendf(page, "%s  %v  update id %d", p.symbols[p.chosen], p.state, p.id)
	if p.measures.ok {
		page = fmt.Appendf(page, "  mid %v  spread %v (%.3g bps)  microprice %.8g  imbalance %+.0f%%  age %v  latency %v",
			p.measures.mid, p.measures.spread, p.measures.bps(), p.measures.microprice, 100*p.measures.imbalance, brief(p.age), brief(p.latency))
	}
	if p.note != "" {
		page = append(page, "  "+oneLine(p.note)...)
	}
	page = append(page, '\n')
	for i := len(p.asks) - 1; i >= 0; i-- {
		page = fmt.Appendf(page, "ask %20v %20v\n", p.asks[i].Price, p.asks[i].Quantity)
	}
	for _, bid := range p.bids {
		page = fmt.Appendf(page, "bid %20v %20v\n", bid.Price, bid.Quantity)
	}
	return append(page, '\n')
}

// The styles of text, as in ECMA-48 SGR.
const (
	plainStyle = ""
	bold       = "1"
	dim        = "2"
	inverse    = "7"
	red        = "31"
	green      = "32"
	yellow     = "33"
)

// A line is a row of the terminal of which some columns are left.
type line struct {
	text     strings.Builder
	left     int
	coloured bool
}

// add adds as much of text as fits.
func (l *line) add(style, text string) {
	fits := text
	if uniseg.StringWidth(text) > l.left {
		fits = ""
		for g := uniseg.NewGraphemes(text); g.Next() && uniseg.StringWidth(fits)+g.Width() <= l.left; {
			fits += g.Str()
		}
	}
	l.left -= uniseg.StringWidth(fits)
	if l.coloured && style != plainStyle && fits != "" {
		fits = "\x1b[" + style + "m" + fits + "\x1b[0m"
	}
	l.text.WriteString(fits)
}

// A canvas collects the lines of a picture.
type canvas struct {
	width, height int
	coloured      bool
	lines         []*line
}

// row returns a new line, or one that is not shown if there is no room.
func (c *canvas) row() *line {
	l := &line{left: c.width, coloured: c.coloured}
	if len(c.lines) < c.height {
		c.lines = append(c.lines, l)
	} else {
		l.left = 0
	}
	return l
}

const (
	rowsBelow    = 3  // the line between bids and asks, and what is below the ladder
	tradeColumns = 40 // of the trades beside the ladder
	wideScreen   = 80 // columns from which there are trades
)

// draw returns the picture as lines of a terminal of that size.
func (p *picture) draw(width, height int, coloured bool) []string {
	c := &canvas{width: width, height: height, coloured: coloured}
	p.drawHead(c)
	if len(p.bids)+len(p.asks) > 0 {
		p.drawLadder(c)
	}
	c.row()
	c.row().add(dim, "1-9 tab ← → symbol   ↑ ↓ levels   q quit")
	lines := make([]string, len(c.lines))
	for i, l := range c.lines {
		lines[i] = l.text.String()
	}
	return lines
}

func (p *picture) drawHead(c *canvas) {
	tabs := c.row()
	for i, symbol := range p.symbols {
		style := dim
		if i == p.chosen {
			style = inverse
		}
		tabs.add(style, fmt.Sprintf(" %d %s ", i+1, plain.Cell(symbol)))
	}
	if p.simulated {
		tabs.add(yellow, "  SIMULATED")
	}
	status := c.row()
	if p.state == orderbook.Synced {
		status.add(green, "synced")
		status.add(plainStyle, fmt.Sprintf("  age %v  latency %v  update id %d", brief(p.age), brief(p.latency), p.id))
	} else {
		status.add(yellow, p.state.String())
	}
	if p.note != "" {
		c.row().add(red, oneLine(p.note))
	}
	if p.gap != "" {
		c.row().add(dim, oneLine(p.gap))
	}
	if m := &p.measures; m.ok {
		numbers := c.row()
		numbers.add(bold, "mid "+m.mid.String())
		numbers.add(plainStyle, fmt.Sprintf("  spread %v (%.3g bps)  microprice %.8g  imbalance ", m.spread, m.bps(), m.microprice))
		numbers.add(sideStyle(m.imbalance >= 0), fmt.Sprintf("%+.0f%%", 100*m.imbalance))
	}
	c.row()
}

func sideStyle(bid bool) string {
	if bid {
		return green
	}
	return red
}

// drawLadder draws the levels with bars of their sizes, and the trades beside them where there is room.
func (p *picture) drawLadder(c *canvas) {
	rows := max(1, (c.height-len(c.lines)-rowsBelow)/2)
	asks, bids := p.asks[:min(rows, len(p.asks))], p.bids[:min(rows, len(p.bids))]
	var all ladderColumns
	for _, l := range slices.Concat(asks, bids) {
		all.price.add(l.Price)
		all.quantity.add(l.Quantity)
		all.most = max(all.most, l.Quantity)
	}
	all.bar = c.width - all.price.width() - all.quantity.width() - 2*len(gutter)
	if c.width >= wideScreen {
		all.bar -= tradeColumns
	}
	trades := p.trades
	row := func(style string, level *orderbook.Level) {
		l := c.row()
		if level != nil {
			all.draw(l, style, level)
		} else {
			l.add(dim, strings.Repeat("─", all.price.width()+all.quantity.width()+len(gutter)))
		}
		if c.width < wideScreen || len(trades) == 0 {
			return
		}
		l.add(plainStyle, strings.Repeat(" ", max(0, l.left-tradeColumns)))
		t := &trades[0]
		l.add(dim, t.TradeTime.UTC().Format("  15:04:05 "))
		l.add(sideStyle(!t.BuyerMaker), fmt.Sprintf("%14v %12v", t.Price, t.Quantity))
		trades = trades[1:]
	}
	for i := len(asks) - 1; i >= 0; i-- {
		row(red, &asks[i])
	}
	row(dim, nil)
	for i := range bids {
		row(green, &bids[i])
	}
}

// ladderColumns are the columns of the ladder.
type ladderColumns struct {
	price, quantity column
	most            orderbook.Fixed // the largest quantity, which has the whole bar
	bar             int             // columns of it
}

const gutter = "  "

func (c *ladderColumns) draw(l *line, style string, level *orderbook.Level) {
	l.add(style, c.price.format(level.Price))
	l.add(plainStyle, gutter+c.quantity.format(level.Quantity))
	if size := bar(level.Quantity.Float64()/c.most.Float64(), max(0, c.bar)); size != "" {
		l.add(plainStyle, gutter)
		l.add(style, size)
	}
}

// bar returns a bar of a share of columns, in eighths of a column.
func bar(share float64, columns int) string {
	eighths := int(share*float64(columns)*8 + 0.5)
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return text
}

// A column aligns numbers at the point.
type column struct{ whole, fraction int }

func (c *column) add(f orderbook.Fixed) {
	whole, fraction, _ := strings.Cut(f.String(), ".")
	c.whole, c.fraction = max(c.whole, len(whole)), max(c.fraction, len(fraction))
}

func (c *column) width() int { return c.whole + min(1, c.fraction) + c.fraction }

func (c *column) format(f orderbook.Fixed) string {
	whole, fraction, _ := strings.Cut(f.String(), ".")
	text := strings.Repeat(" ", c.whole-len(whole)) + whole
	if c.fraction > 0 {
		text += "." + fraction + strings.Repeat("0", c.fraction-len(fraction))
	}
	return text
}

// brief returns a duration with no more digits than are read.
func brief(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Second)
}

// oneLine returns text that others may have written, on one line and with nothing that controls a terminal.
func oneLine(text string) string { return plain.Text(strings.Join(strings.Fields(text), " ")) }
