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
//	obey(sync.Snapshot(now, id, &snap))   // emits the Snapshot and the Updates that follow it
//	obey(sync.Tick(now))                  // at sync.Deadline()
//
// Its contract is one sentence, and storage and replay rest on it: between a Snapshot event and the
// next Gap event, applying every Update event to a Book seeded by that Snapshot gives exactly
// Syncer.Book(); outside such a span no Update is emitted.
//
// A Book can be used alone where the updates are known to be complete. Fixed is the number type of
// prices and quantities: exact, eight decimals, an int64.
//
// # Concurrency
//
// Nothing here locks or starts a goroutine. A Syncer and its Book belong to one goroutine at a time;
// a Book that nobody changes can be read by many.
//
// # Limitations
//
// A snapshot that the venue cut at its depth limit knows nothing beyond its last price. Levels
// further out appear in the book only once they change, so the far part of a book is incomplete
// however long it runs.
package orderbook
