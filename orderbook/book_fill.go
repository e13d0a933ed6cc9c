package orderbook

import (
	"math/big"
	"math/bits"

	"github.com/shopspring/decimal"
)

// A Fill is the cost of a market order by a book: it takes the levels of a side, best first, up to its size.
type Fill struct {
	Quantity Fixed           // filled
	Notional decimal.Decimal // the sum of price × quantity, exact
	Worst    Fixed           // the last price
	Levels   int             // how many levels it takes, the last one perhaps in part
	Complete bool            // the book had the whole size, and it fits Quantity
	Known    bool            // it is within the known depth: the exchange's book gives the same
}

// AveragePrice returns Notional / Quantity, rounded to 16 decimals; 0 if nothing was filled.
func (f Fill) AveragePrice() decimal.Decimal {
	if f.Quantity == 0 {
		return decimal.Zero
	}
	return f.Notional.DivRound(f.Quantity.Decimal(), 2*FractionDigits)
}

// FillQuantity returns the Fill of an order for that quantity on a side: Ask for a buyer, Bid
// for a seller.
func (b *Book) FillQuantity(s Side, quantity Fixed) Fill {
	var (
		f    Fill
		cost product
		left = quantity
		side = b.side(s)
	)
	for level := range side.all {
		if left <= 0 {
			break
		}
		taken := min(left, level.Quantity)
		left -= taken
		cost.add(level.Price, taken)
		f.Quantity += taken
		f.Worst = level.Price
		f.Levels++
	}
	f.Notional = cost.decimal()
	f.Complete = left <= 0
	f.Known = !side.bound.Limited || f.Complete && (f.Levels == 0 || side.knows(f.Worst))
	return f
}

// FillNotional returns the Fill of an order that spends (or, for Bid, earns) that much. Of the last
// level it takes as many hundred-millionths as the rest pays for, rounded down, so Notional
// is at most notional and short of it by less than the price of one of them.
func (b *Book) FillNotional(s Side, notional Fixed) Fill {
	var (
		f           Fill
		cost, limit product
		side        = b.side(s)
		known       = true // the levels so far are within the known depth
	)
	limit.add(max(notional, 0), One)
	for level := range side.all {
		if cost == limit {
			break
		}
		known = side.knows(level.Price)
		taken := level.Quantity
		if level.Price > 0 {
			taken = min(taken, limit.sub(cost).quotient(level.Price))
		}
		room := MaxFixed - f.Quantity
		full := taken > room // the quantity does not fit a Fixed
		taken = min(taken, room)
		cost.add(level.Price, taken)
		f.Quantity += taken
		if taken > 0 {
			f.Worst = level.Price
			f.Levels++
		}
		if taken < level.Quantity {
			f.Complete = !full
			break
		}
	}
	f.Complete = f.Complete || cost == limit
	f.Known = !side.bound.Limited || f.Complete && known
	f.Notional = cost.decimal()
	return f
}

// A product is an exact sum of products of two non-negative Fixed values: an integer number of
// 10^-16, in 128 bits.
type product struct {
	hi, lo uint64
}

func (p *product) add(a, b Fixed) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	var carry uint64
	p.lo, carry = bits.Add64(p.lo, lo, 0)
	p.hi, _ = bits.Add64(p.hi, hi, carry)
}

// sub returns p - q, which must not be negative.
func (p product) sub(q product) product {
	lo, borrow := bits.Sub64(p.lo, q.lo, 0)
	hi, _ := bits.Sub64(p.hi, q.hi, borrow)
	return product{hi: hi, lo: lo}
}

// quotient returns p / d rounded down, at most MaxFixed.
func (p product) quotient(d Fixed) Fixed {
	if p.hi >= uint64(d) {
		return MaxFixed
	}
	q, _ := bits.Div64(p.hi, p.lo, uint64(d))
	return Fixed(min(q, uint64(MaxFixed)))
}

func (p product) decimal() decimal.Decimal {
	n := new(big.Int).SetUint64(p.hi)
	n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(p.lo))
	return decimal.NewFromBigInt(n, -2*FractionDigits)
}
