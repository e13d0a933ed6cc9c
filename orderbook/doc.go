// Package orderbook keeps an exact local copy of an exchange's order book. It is the core that every
// feed of this module runs through: the live exchange, the bus and the archive.
//
// # Usage
//
// A Syncer joins the stream of updates with a snapshot and proves by their ids that nothing is
// missing. It does no IO and reads no clock: the caller tells it what happened, and when, and obeys
// the Output it gets back.
//
//	sync, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: orderbook.Contiguous})
//	obey(sync.Connected(now))             // asks for a snapshot: Output.Fetch
//	obey(sync.Update(now, &update))       // kept until the snapshot is there
//	snap.SetLimit(1000)                   // of what was asked for
//	obey(sync.Snapshot(now, id, &snap))   // emits the Snapshot and the Updates that follow it
//	obey(sync.Tick(now))                  // at sync.Deadline()
//
// Its contract is one sentence, and storage and replay rest on it: between a Snapshot event and the
// next Gap event, applying every Update event to a Book seeded by that Snapshot gives exactly
// Syncer.Book(); outside such a span no Update is emitted. With SyncerConfig.MaxDepth, Syncer.Book() is
// that book pruned: the same as far as it is known, and nowhere else.
//
// # How far a book is known
//
// A venue cuts its snapshots at a number of levels. The driver says so (Snapshot.SetLimit), and a Book
// knows from then on up to which price each side is exact: Known, KnowsTop and Knows tell of each read
// whether it is the exchange's, and Fill carries the answer. Levels further out appear only once they
// change, and the market may move out of what is known.
//
// So a Syncer can Refresh a book while it runs, also by itself: at intervals (RefreshEvery), or when
// the promised depth is no longer known (RefreshDepth). A new snapshot is made into a second book, both
// are compared at one update id, and the better sides are kept. Each refresh is thus also an Audit of
// the book. If sides were exchanged there is a Snapshot event within the span, at the id at which the
// book stands: a reader seeds its book with it, and has missed nothing and seen nothing twice.
//
// # From a bus, an archive or a file
//
// A Joiner makes the book from records that cannot be asked for again: the Events of the Syncers of one
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
// a Book that nobody changes can be read by many.
package orderbook
