package chstore

import (
	"context"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// An epoch is a span of time in which the ids of an instrument only rise. The next one begins where they went back:
// Binance's testnet is wiped about once a month, and ids start again from the lowest ("Data wiped about monthly", its
// changelog; a market restored from a backup does the same). An id names one event within an epoch only.
//
// Nothing is stored with a record to name its epoch: two collectors would have to agree on the name. Its times say it.
// The Gap with GapRegressed has, as its own time, the exchange's time of the first update with lower ids; one from a
// collector that does not know that time has the time at which it was received. The exchange's clock decides for
// records that have its time, the clock of the collector for those that have not (spot snapshots).
//
// Where no collector saw ids go back, because it was not running, the ids show it (regressed): of two updates of
// one epoch that were sent more than clockSkew apart, the later one has the higher ids.
type epoch struct {
	from         time.Time // of the first record; zero for the first epoch
	fromReceived time.Time // when a collector noticed; zero for the first epoch
	after        int64     // the last id before, of the collector that noticed
}

// epochs are the epochs of one instrument, in order. There is always a first one.
type epochs []epoch

// echo is how long after a Gap with GapRegressed another collector may store one for the same event. It has the
// same ids: both followed one exchange. One that comes later, or from a collector that was behind, begins an
// epoch too many, in which the book is not synced until that collector's next snapshot.
const echo = time.Second

// readEpochs reads the epochs of an instrument.
func readEpochs(ctx context.Context, d *db, i marketprism.Instrument) (epochs, error) {
	return epochsOf(askEpochs(ctx, d, i))
}

// askEpochs asks for the gaps that begin epochs.
func askEpochs(ctx context.Context, d *db, i marketprism.Instrument) *answer {
	sc := newScope(i, time.Time{}, time.Time{})
	sc.where += " AND reason = 'regressed'"
	return d.streamOf(ctx, nil, gapTable, i, bookColumns, sc, "ORDER BY ts, received_at").collect()
}

// epochsOf returns the epochs that the gaps of askEpochs begin.
func epochsOf(asked *answer) (epochs, error) {
	all := epochs{{}}
	gaps, err := asked.wait()
	for i := range gaps {
		all = all.add(epoch{gaps[i].Time(), gaps[i].ReceivedAt, gaps[i].Gap.After})
	}
	return all, err
}

// add adds an epoch that begins after all others, unless it is the last one as another collector saw it.
func (all epochs) add(e epoch) epochs {
	last := &all[len(all)-1]
	if len(all) > 1 && e.after == last.after && e.from.Sub(last.from) <= echo {
		if e.fromReceived.Before(last.fromReceived) {
			last.fromReceived = e.fromReceived
		}
		return all
	}
	return append(all, e)
}

// at returns the epoch of a time of the exchange.
func (all epochs) at(t time.Time) int {
	n := len(all) - 1
	for n > 0 && t.Before(all[n].from) {
		n--
	}
	return n
}

// of returns the epoch of a record.
func (all epochs) of(r *marketprism.Record) int {
	if !r.EventTime.IsZero() || r.Gap != nil {
		return all.at(r.Time())
	}
	n := len(all) - 1
	for n > 0 && r.ReceivedAt.Before(all[n].fromReceived) {
		n--
	}
	return n
}

// addTo selects the records of the n-th epoch.
func (all epochs) addTo(sc *scope, n int) {
	const condition = "if(timed, toUnixTimestamp64Nano(ts), toUnixTimestamp64Nano(received_at))"
	if n > 0 {
		e := all[n]
		sc.add(condition+" >= if(timed, {epoch:Int64}, {epoch_received:Int64})", "epoch", clamp(e.from))
		sc.args = append(sc.args, named("epoch_received", clamp(e.fromReceived)))
	}
	if n+1 < len(all) {
		e := all[n+1]
		sc.add(condition+" < if(timed, {next_epoch:Int64}, {next_epoch_received:Int64})", "next_epoch", clamp(e.from))
		sc.args = append(sc.args, named("next_epoch_received", clamp(e.fromReceived)))
	}
}

// A moment is a time at which a book is read, with its epoch. Only records of that epoch count.
type moment struct {
	time.Time
	epochs epochs
	epoch  int
}

// upTo selects the records up to the moment.
func (m moment) upTo(i marketprism.Instrument, from time.Time) scope {
	sc := newScope(i, from, m.Add(1))
	m.epochs.addTo(&sc, m.epoch)
	return sc
}

// after selects the records after the moment.
func (m moment) after(i marketprism.Instrument) scope {
	sc := newScope(i, m.Add(1), time.Time{})
	m.epochs.addTo(&sc, m.epoch)
	return sc
}

// regressed reports whether an update that ends at an id, sent at some time, is of a later epoch than one with a higher or
// equal id that was sent before.
func regressed(highest int64, sent time.Time, id int64, at time.Time) bool {
	return id <= highest && at.Sub(sent) > clockSkew
}

// regressedGap reports whether a record says that ids went back.
func regressedGap(r *marketprism.Record) bool {
	return r.Gap != nil && r.Gap.Reason == orderbook.GapRegressed
}
