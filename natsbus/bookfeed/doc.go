// Package bookfeed keeps order books from the records that natsbus carries, with no request to the exchange.
//
//	feed, err := bookfeed.New(js, bookfeed.Config{Instruments: instruments})
//	go feed.Run(ctx)
//	err = feed.Ready(ctx)
//	err = feed.View(instrument, func(b *orderbook.Book, s bookfeed.Status) { … })
//
// Each book begins with the last snapshot in the stream and continues with the updates after it. A collector
// that puts [Snapshots] before its Publisher adds a snapshot now and then, with its checksum, so that a new feed
// has few updates to read. The feed rejects a snapshot whose checksum is wrong, compares each later snapshot of
// the book's update id with the book, and replaces a book that differs.
//
// All books of a feed share one consumer on the server, so that any number of feeds can have the books of a whole
// exchange.
//
// Any number of collectors may publish the same instrument: each change is applied once, and the end of one
// collector costs nothing while another continues. A book that may miss changes, or has not caught up with the
// stream, is not Synced, and View refuses it. It comes back with the next snapshot, or when the update ids prove
// that nothing is missing.
package bookfeed
