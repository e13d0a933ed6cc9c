// Package orderbook keeps an exact local copy of an exchange's order book. Every feed of this module runs
// through it: the live exchange, the bus and the archive.
//
// # Usage
//
// A Syncer joins the stream of updates with a snapshot and proves by their ids that none is
// missing. It does no IO and reads no clock: the caller reports events with their time, and carries out
// the Output that it gets back.
//
//	sync, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: orderbook.Contiguous})
//	apply(sync.Connected(now))             // requests a snapshot: Output.Fetch
//	apply(sync.Update(now, &update))       // pending until the snapshot comes
//	snap.SetLimit(1000)                    // the limit of the request
//	apply(sync.Snapshot(now, id, &snap))   // emits the Snapshot and the Updates that follow it
//	apply(sync.Tick(now))                  // at sync.Deadline()
//
// Storage and replay rest on its contract, which is one sentence: between a Snapshot event and the
// next Gap event, applying every Update event to a Book seeded by that Snapshot gives exactly
// Syncer.Book(); outside such a span no Update is emitted. With SyncerConfig.MaxDepth, Syncer.Book() is
// that book pruned: the same within its known depth, and nowhere else.
//
// # Known depth
//
// A venue cuts its snapshots at a number of levels. The driver reports the limit (Snapshot.SetLimit), and a
// Book knows from then on down to which price each side is complete: Known, KnowsTop and Knows report whether
// a read is exact, and a Fill says it of itself. Levels further out appear only once they
// change, and the market may move out of the known depth.
//
// So a Syncer can Refresh a book while it runs, also by itself: at intervals (RefreshEvery), or when
// the promised depth is no longer known (RefreshDepth). It makes a second book of a new snapshot, compares
// both at one update id, and keeps the better sides. Each refresh is thus also an Audit of
// the book. If sides were replaced there is a Snapshot event within the span, at the id of the
// book: a reader seeds its book with it, and has missed nothing and seen nothing twice.
//
// # From a bus, an archive or a file
//
// A Joiner makes the book from records that cannot be requested again: the Events of the Syncers of one
// collector or of several, late, repeated or out of order. Its Events keep the same contract.
//
//	joiner, err := orderbook.NewJoiner(orderbook.JoinerConfig{Continuity: orderbook.Contiguous})
//	out := joiner.Join(orderbook.Event{Snapshot: &snap})
//	out = joiner.Join(orderbook.Event{Update: &update})
//
// A Book can be used alone where the updates are known to be complete. Fixed is the number type of
// prices and quantities: exact, eight decimals, an int64.
//
// # Concurrency
//
// Nothing here locks or starts a goroutine. A Syncer and its Book belong to one goroutine at a time;
// any number of goroutines may read a Book that does not change.
package orderbook
