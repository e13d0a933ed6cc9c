package metrics

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink"
)

// An Archive measures an archiver and its ClickHouse.
type Archive struct {
	m        *Metrics
	archiver string
	begun    time.Time
	prefix   string // of the tables
	up       *number
	lag      map[string]prometheus.Observer // by table
	took     map[string]prometheus.Observer
	rows     map[string]prometheus.Observer
	answered map[string]prometheus.Observer // by op

	mu        sync.Mutex
	store     *chstore.Store
	consumers []*natsbus.Consumer
	usage     []chstore.Usage
	disks     []chstore.Disk
}

// Hooks returns what is to be among the Hooks of the store.
func (a *Archive) Hooks() *chstore.Hooks {
	return &chstore.Hooks{
		Inserted: func(i chstore.InsertInfo) {
			t := a.table(i.Table)
			a.took[t].Observe(i.Took.Seconds())
			a.rows[t].Observe(float64(i.Rows))
		},
		Answered: func(i chstore.AnswerInfo) { a.answered[known(string(i.Op), storeOps())].Observe(i.Took.Seconds()) },
	}
}

// table returns the label value of a table.
func (a *Archive) table(name string) string {
	return known(strings.TrimPrefix(name, a.prefix), tables)
}

// Observe sets the store, and the consumers that write to it, that scrapes and Poll read.
func (a *Archive) Observe(store *chstore.Store, consumers ...*natsbus.Consumer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.store, a.consumers = store, consumers
}

func (a *Archive) observed() *chstore.Store {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.store
}

// Storing returns a sink that gives records to dst, and measures how old they are once it has taken them.
func (a *Archive) Storing(dst sink.Sink) sink.Sink {
	return sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		if err := dst.Write(ctx, recs); err != nil {
			return err
		}
		now := time.Now()
		for i := range recs {
			if rec := &recs[i]; !rec.EventTime.IsZero() {
				a.lag[tableOf(rec.Kind())].Observe(max(0, now.Sub(rec.EventTime).Seconds()))
			}
		}
		return nil
	})
}

// tableOf returns the table of chstore that a record goes to.
func tableOf(k marketprism.Kind) string {
	switch k {
	case marketprism.KindUpdate:
		return "depth_events"
	case marketprism.KindSnapshot:
		return "book_snapshots"
	case marketprism.KindTrade, marketprism.KindAggTrade:
		return "trades"
	case marketprism.KindTicker:
		return "tickers"
	case marketprism.KindGap:
		return "gaps"
	}
	return Other
}

func (a *Archive) ping(ctx context.Context) error {
	store := a.observed()
	if store == nil {
		return nil
	}
	err := store.Ping(ctx)
	a.up.set(truth(err == nil))
	return err
}

// measure asks for sizes. What was measured before stays if there is no answer.
func (a *Archive) measure(ctx context.Context) error {
	store := a.observed()
	if store == nil {
		return nil
	}
	usage, err := store.Usage(ctx)
	if err != nil {
		return err
	}
	disks, err := store.Disks(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.usage, a.disks = usage, disks
	return nil
}

func (a *Archive) collect(give emit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	give(ArchiverHeartbeat, unix(a.heartbeat()), a.archiver)
	a.collectStore(give)
	a.collectSizes(give)
}

// heartbeat returns the last turn of the consumer that is behind the others. One that has not
// completed any has been at its first since the beginning.
func (a *Archive) heartbeat() time.Time {
	if len(a.consumers) == 0 {
		return a.begun
	}
	last := time.Now()
	for _, c := range a.consumers {
		turn := c.Stats().LastProgress
		if turn.IsZero() {
			turn = a.begun
		}
		if turn.Before(last) {
			last = turn
		}
	}
	return last
}

func (a *Archive) collectStore(give emit) {
	stats := make(map[string]chstore.TableStats, len(tables))
	if a.store != nil {
		for _, t := range a.store.Stats().Tables {
			stats[known(t.Table, tables)] = t
		}
	}
	for _, name := range tables {
		t := stats[name]
		var failed uint64
		for _, reason := range chstore.Reasons() {
			failed += t.Failures[reason]
			give(StoreErrors, float64(t.Failures[reason]), name, string(reason))
		}
		give(StoreInserts, float64(t.Inserts+failed), name)
		give(StoreRetries, float64(t.Retries), name)
		give(StoreRows, float64(t.Rows), name)
		give(StoreBytes, float64(t.Bytes), name)
		give(ArchiverRows, float64(t.Waiting), name)
		give(ArchiverBytes, float64(t.WaitingBytes), name)
		give(ArchiverWatermark, unix(t.Newest), name)
	}
}

func (a *Archive) collectSizes(give emit) {
	type size struct{ parts, rows, bytes uint64 }
	sizes := make(map[string]size)
	tiers := make(map[[2]string]uint64)
	for _, u := range a.usage {
		t := known(u.Table, tables)
		s := sizes[t]
		sizes[t] = size{s.parts + u.Parts, s.rows + u.Rows, s.bytes + u.Bytes}
		tiers[[2]string{t, u.Volume}] += u.Bytes
	}
	for _, t := range tables {
		give(StoreParts, float64(sizes[t].parts), t)
		give(StoreTableRows, float64(sizes[t].rows), t)
		give(StoreTableBytes, float64(sizes[t].bytes), t)
	}
	for at, bytes := range tiers {
		give(StoreTierBytes, float64(bytes), at[0], at[1])
	}
	for _, d := range a.disks {
		give(StoreDiskFree, float64(d.Free), d.Name)
		give(StoreDiskTotal, float64(d.Total), d.Name)
	}
}
