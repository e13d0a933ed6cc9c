package orderbook

import (
	"encoding/binary"
	"hash/crc32"
)

// Checksum returns the CRC-32C (Castagnoli) of the update id and all levels: as little-endian 64-bit
// integers LastID, the number of bids, price and quantity of each bid in units of 10^-8, best first,
// and the asks likewise. Times and bounds are not in it.
func (s *Snapshot) Checksum() uint32 {
	sum := newChecksum(s.LastID)
	sum.count(len(s.Bids))
	for _, l := range s.Bids {
		sum.level(l)
	}
	sum.count(len(s.Asks))
	for _, l := range s.Asks {
		sum.level(l)
	}
	return ^sum.crc
}

// Checksum returns what Checksum of Snapshot would, without a copy of the book.
func (b *Book) Checksum() uint32 {
	sum := newChecksum(b.lastID)
	sum.count(b.BidCount())
	for l := range b.bids.all {
		sum.level(l)
	}
	sum.count(b.AskCount())
	for l := range b.asks.all {
		sum.level(l)
	}
	return ^sum.crc
}

// A checksum is a CRC in the making. It goes through the table itself, because what is handed to
// crc32.Update has to be allocated.
type checksum struct {
	table *crc32.Table
	crc   uint32
}

func newChecksum(lastID int64) checksum {
	sum := checksum{table: crc32.MakeTable(crc32.Castagnoli), crc: ^uint32(0)}
	sum.add(uint64(lastID))
	return sum
}

func (c *checksum) count(n int)   { c.add(uint64(n)) }
func (c *checksum) level(l Level) { c.add(uint64(l.Price)); c.add(uint64(l.Quantity)) }

func (c *checksum) add(v uint64) {
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], v)
	for _, b := range word {
		c.crc = c.table[byte(c.crc)^b] ^ c.crc>>8
	}
}
