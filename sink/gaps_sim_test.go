package sink_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// Whatever is damaged, dropped or refused, before and after however many restarts: a reader of what comes out is never
// synced on a wrong book, and is synced again once there is a Snapshot.
func TestSpillReaderIsNeverSyncedOnAWrongBook(t *testing.T) {
	synced, damaged, dropped, refused := 0, 0, int64(0), int64(0)
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // in memory, for hundreds of queues
	}
	seeds := uint64(60)
	if testing.Short() {
		seeds = 12
	}
	for seed := range seeds {
		s := newSimulation(t, seed)
		for range 3 + s.rng.IntN(4) {
			s.process()
			s.damage()
		}
		s.settle()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		synced, damaged, dropped, refused = synced+s.synced, damaged+s.damaged, dropped+s.dropped.Load(), refused+s.refused.Load()
	}
	t.Logf("%d records left a book synced, %d queues damaged, %d records dropped, %d refused", synced, damaged, dropped, refused)
	if n := int(seeds); synced < 50*n || damaged < n/3 || dropped < int64(n) || refused < int64(n/4) {
		t.Error("too few to prove anything")
	}
}

// A simulation is a collector that is started several times with one disk queue, and a reader of the destination.
type simulation struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	dir   string
	dst   sinktest.Recorder
	books []*simulatedBook
	read  int // records of dst that the reader has

	synced, damaged  int // records that left a book synced; queues
	dropped, refused atomic.Int64
}

// A simulatedBook is the exchange's and the reader's book of a symbol. Update n sets the quantity of price n%5+1 to n.
type simulatedBook struct {
	symbol string
	id     int64
	synced bool // by the records that were written
	reader *orderbook.Joiner
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 43)), dir: t.TempDir()}
	for _, symbol := range []string{"A", "B", "C"} {
		reader, err := orderbook.NewJoiner(orderbook.JoinerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		s.books = append(s.books, &simulatedBook{symbol: symbol, id: 100 * (1 + s.rng.Int64N(5)), reader: reader})
	}
	return s
}

// bids returns the bids of a book at an id.
func (b *simulatedBook) bids(id int64) (levels []orderbook.Level) {
	for price := int64(5); price > 0; price-- {
		last := id - (id+6-price)%5
		levels = append(levels, orderbook.Level{Price: orderbook.Fixed(price) * orderbook.One, Quantity: orderbook.Fixed(last) * orderbook.One})
	}
	return levels
}

func (b *simulatedBook) snapshot() marketprism.Record {
	b.synced = true
	r := snapshot(b.symbol, b.id)
	r.Snapshot.Bids = b.bids(b.id)
	return r
}

func (b *simulatedBook) update(n int64) marketprism.Record {
	r := update(b.symbol, b.id+1)
	b.id += n
	r.Update.LastID = b.id
	for id := r.Update.FirstID; id <= b.id; id++ {
		r.Update.Bids = append(r.Update.Bids, orderbook.Level{Price: orderbook.Fixed(id%5+1) * orderbook.One, Quantity: orderbook.Fixed(id) * orderbook.One})
	}
	return r
}

// next returns what a collector writes next of the book.
func (b *simulatedBook) next(rng *rand.Rand) marketprism.Record {
	p := rng.IntN(40)
	switch {
	case !b.synced:
		b.id += rng.Int64N(4)
		return b.snapshot()
	case p == 0:
		b.synced = false
		return recordOf(b.symbol, marketprism.Record{Gap: &orderbook.Gap{After: b.id, Reason: orderbook.GapDisconnect}})
	case p < 4: // one of those that are added now and then
		return b.snapshot()
	case p < 8:
		return trade(b.symbol, b.id)
	}
	return b.update(1 + rng.Int64N(3))
}

// open starts the collector.
func (s *simulation) open() *spilling {
	cfg := sink.SpillConfig{
		Dir: s.dir, SegmentBytes: 300 + s.rng.Int64N(2000), MaxBatch: 1 + s.rng.IntN(60), SyncInterval: -1, DirectTimeout: time.Minute,
		RetryMin: 1, RetryMax: 1000, Encode: encodeRecord, Decode: decodeRecord,
		Hooks: &sink.SpillHooks{
			Dropped: func(sink.DroppedInfo) { s.dropped.Add(1) },
			Refused: func(sink.SpillRefusedInfo) { s.refused.Add(1) },
		},
	}
	if s.rng.IntN(2) == 0 {
		cfg.MaxBytes, cfg.Overflow = 3000+s.rng.Int64N(3000), sink.DropNewest
	}
	named := true
	if s.rng.IntN(3) == 0 {
		cfg.DirectTimeout = -1
		named = s.rng.IntN(2) == 0
	}
	r := &spilling{dst: &s.dst}
	var err error
	if r.Spill, err = sink.NewSpill(r.faults.Wrap(s.refusing(named)), cfg); err != nil {
		s.t.Fatal(err)
	}
	r.stop = func() { r.Close() }
	return r
}

// refusing returns the destination, which refuses one in sixty records, by their keys and named or not.
func (s *simulation) refusing(named bool) sink.Sink {
	return sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		var refused []int
		for i := range recs {
			if s.isPoison(&recs[i]) {
				refused = append(refused, i)
			}
		}
		switch {
		case refused == nil:
			return s.dst.Write(ctx, recs)
		case named:
			return errNaming(refused...)
		}
		return errPoison
	})
}

func (s *simulation) isPoison(r *marketprism.Record) bool {
	return r.Gap == nil && crc32.ChecksumIEEE(fmt.Append(nil, s.seed, r.Key()))%60 == 0
}

// process runs the collector for a while. The destination is away at times, and Run begins some time later, or never.
func (s *simulation) process() {
	r := s.open()
	defer func() { r.stop() }()
	running := s.rng.IntN(10)
	for step := range 8 {
		if step == running {
			r.run(s.t)
		}
		if s.rng.IntN(3) == 0 {
			r.down(s.rng, 1+s.rng.IntN(3))
		}
		for range s.rng.IntN(8) {
			s.write(r, s.batch())
		}
		if step >= running && s.rng.IntN(4) == 0 {
			s.check(r)
		}
	}
}

func (s *simulation) batch() (recs []marketprism.Record) {
	for range 1 + s.rng.IntN(8) {
		recs = append(recs, s.books[s.rng.IntN(len(s.books))].next(s.rng))
	}
	return recs
}

// write writes recs. If the destination refuses some of them directly, their books end there.
func (s *simulation) write(r *spilling, recs []marketprism.Record) {
	err := r.Write(s.t.Context(), recs)
	refused := sink.Refused(err, len(recs))
	if err != nil && refused == nil {
		s.t.Fatal(err)
	}
	for _, f := range refused {
		symbol := recs[f.Index].Instrument.Symbol
		for i := range recs {
			if recs[i].Instrument.Symbol == symbol {
				recs[i] = recordOf(symbol, marketprism.Record{Gap: &orderbook.Gap{After: endOf(&recs[i]), Reason: orderbook.GapInvalid}})
			}
		}
		for _, b := range s.books {
			b.synced = b.synced && b.symbol != symbol
		}
	}
	if refused != nil {
		r.write(s.t, recs)
	}
}

func endOf(r *marketprism.Record) int64 {
	switch {
	case r.Update != nil:
		return r.Update.LastID
	case r.Snapshot != nil:
		return r.Snapshot.LastID
	}
	return 0
}

// check delivers everything, and then one more record of each book: it says that the ones before were lost, if damage has
// taken them. Then the reader's books are the exchange's.
func (s *simulation) check(r *spilling) {
	r.flush(s.t)
	s.follow()
	for _, b := range s.books {
		if b.synced {
			s.write(r, []marketprism.Record{b.update(1)})
		} else {
			b.id++
			s.write(r, []marketprism.Record{b.snapshot()})
		}
	}
	r.flush(s.t)
	s.follow()
	for _, b := range s.books {
		if b.reader.State() == orderbook.Synced && !b.reader.Ahead() && b.reader.Book().LastID() != b.id {
			s.t.Fatalf("seed %d: the reader's book of %s is synced at %d, the exchange's is at %d", s.seed, b.symbol, b.reader.Book().LastID(), b.id)
		}
	}
}

// follow lets the reader read what has come.
func (s *simulation) follow() {
	recs := s.dst.Records()
	for ; s.read < len(recs); s.read++ {
		r := &recs[s.read]
		b := s.books[slices.IndexFunc(s.books, func(b *simulatedBook) bool { return b.symbol == r.Instrument.Symbol })]
		if r.Trade != nil {
			continue
		}
		b.reader.Join(orderbook.Event{Update: r.Update, Snapshot: r.Snapshot, Gap: r.Gap})
		book := b.reader.Book()
		if b.reader.State() != orderbook.Synced {
			continue
		}
		s.synced++
		if got := book.Snapshot().Bids; !slices.Equal(got, b.bids(book.LastID())) {
			s.t.Fatalf("seed %d: after %s the reader's book is synced at %d with %v", s.seed, r.Key(), book.LastID(), got)
		}
	}
}

// damage flips a byte of the queue, or cuts a segment.
func (s *simulation) damage() {
	files := segments(s.t, s.dir)
	if len(files) == 0 || s.rng.IntN(2) == 0 {
		return
	}
	file := files[s.rng.IntN(len(files))]
	data := readFile(s.t, file)
	if len(data) <= 28 {
		return
	}
	at := 28 + s.rng.IntN(len(data)-28)
	if s.rng.IntN(3) == 0 {
		data = data[:at]
	} else {
		data[at] ^= byte(1 + s.rng.IntN(255))
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.damaged++
}

// settle checks that the reader is synced in the end.
func (s *simulation) settle() {
	r := s.open().run(s.t)
	s.check(r)
	for _, b := range s.books {
		for refused := true; refused; {
			b.id++
			recs := []marketprism.Record{b.snapshot(), b.update(1)}
			refused = s.isPoison(&recs[0]) || s.isPoison(&recs[1])
			s.write(r, recs)
		}
	}
	r.flush(s.t)
	s.follow()
	r.stop()
	for _, b := range s.books {
		if b.reader.State() != orderbook.Synced || b.reader.Ahead() {
			s.t.Errorf("in the end the reader's book of %s is %v at %d, the exchange's is at %d", b.symbol, b.reader.State(), b.reader.Book().LastID(), b.id)
		}
	}
}
