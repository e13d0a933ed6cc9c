package chstore

import (
	"context"
	"fmt"

	"github.com/marketprism/marketprism"
)

// An identity tells a record from the others of its kind, as Record.Key does, and of a Snapshot or Gap also
// when it was received: a quiet book that is lost twice ends and begins twice at one update id.
type identity struct{ id, minor, received int64 }

// seenRecords bounds the identities of one kind that a reader remembers, and also those it asks the
// server for at a time.
const seenRecords = 1 << 16

// A seen finds out which rows were read before in a range of any length, with memory for a part of it.
//
// It remembers the last identities. Ids grow with time, so a row with a higher id than all that were
// forgotten is new, and nearly every row is decided that way. What is left is a row whose id is as
// low as forgotten ones: data that came much later a second time, or ids that went back. For those it
// asks the server which identities the range holds before that row, from that id on upwards, and
// keeps the answer for the rows that follow.
type seen struct {
	s    *Store
	t    table
	kind marketprism.Kind
	sc   scope

	recent    map[identity]struct{}
	ring      []identity // the same, from the oldest at next on once it is full
	next      int
	forgotten int64 // highest id that fell out of ring
	forgot    bool

	earlier  map[identity]struct{} // what the server answered; nil if nothing was asked
	from, to int64                 // the ids the answer covers
}

func newSeen(s *Store, t table, kind marketprism.Kind, sc scope) *seen {
	return &seen{s: s, t: t, kind: kind, sc: sc, recent: make(map[identity]struct{})}
}

// check reports whether a row was read before, and remembers it.
func (s *seen) check(ctx context.Context, r rank, b *base) (duplicate bool, err error) {
	key, ts := identity{id: r.id, minor: r.minor}, b.ts
	if r.kind == marketprism.KindSnapshot || r.kind == marketprism.KindGap {
		key.received = b.received
	}
	if _, ok := s.recent[key]; ok {
		return true, nil
	}
	if s.forgot && key.id <= s.forgotten {
		if s.earlier == nil || key.id < s.from || key.id > s.to {
			if err := s.ask(ctx, key.id, ts); err != nil {
				return false, err
			}
		}
		if _, ok := s.earlier[key]; ok {
			return true, nil
		}
	}
	s.remember(key)
	return false, nil
}

func (s *seen) remember(key identity) {
	s.recent[key] = struct{}{}
	if len(s.ring) < seenRecords {
		s.ring = append(s.ring, key)
		return
	}
	old := s.ring[s.next]
	delete(s.recent, old)
	s.ring[s.next] = key
	s.next = (s.next + 1) % seenRecords
	if !s.forgot || old.id > s.forgotten {
		s.forgot, s.forgotten = true, old.id
	}
	// The answer is of a moment before old was read, if old is not in it.
	if _, ok := s.earlier[old]; !ok && old.id >= s.from && old.id <= s.to {
		s.earlier = nil
	}
}

// ask fills earlier with the identities of rows before ts, from id on.
func (s *seen) ask(ctx context.Context, id, ts int64) error {
	const unlimited = 1<<63 - 1
	idColumn, minorColumn, receivedColumn := s.t.identity()
	sc := s.sc
	sc.add("ts < fromUnixTimestamp64Nano({before:Int64}, 'UTC')", "before", ts)
	sc.add(idColumn+" >= {id:Int64}", "id", id)
	if s.t == tradeTable {
		sc.add("aggregate = {kind:Bool}", "kind", s.kind == marketprism.KindAggTrade)
	}
	rows, err := s.s.query(ctx, s.t, []string{"DISTINCT " + idColumn + " AS id", minorColumn + " AS minor", receivedColumn + " AS received"}, sc,
		fmt.Sprintf("ORDER BY id LIMIT %d WITH TIES", seenRecords))
	if err != nil {
		return err
	}
	defer rows.Close()
	s.earlier = make(map[identity]struct{})
	s.from, s.to = id, unlimited
	last := id
	for rows.Next() {
		var key identity
		if err := rows.Scan(&key.id, &key.minor, &key.received); err != nil {
			return s.t.readError(ctx, err)
		}
		s.earlier[key] = struct{}{}
		last = key.id
	}
	if len(s.earlier) >= seenRecords {
		s.to = last
	}
	if err := rows.Err(); err != nil {
		return s.t.readError(ctx, err)
	}
	return nil
}
