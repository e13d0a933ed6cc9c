// Package binance reads market data of Binance: spot, USDⓈ-M futures and COIN-M futures. It keeps
// local order books in step with the exchange, and turns depth, trades and best prices into records.
//
// # Usage
//
//	client, err := binance.NewClient(binance.Config{})
//	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{Symbols: []string{"BTCUSDT", "ETHUSDT"}})
//	go books.Run(ctx)
//	err = books.Ready(ctx)
//	err = books.View("BTCUSDT", func(b *orderbook.Book, s binance.Status) {
//		bid, _ := b.BestBid()
//		fmt.Println(bid.Price, bid.Quantity, s.Age())
//	})
//
// A [Client] makes REST requests and opens connections. A [Stream] is one websocket connection, for
// programs that want the frames themselves, with a [Decoder] for them. A [DepthSyncer] does all that
// books need: it connects, subscribes, fetches snapshots, proves by the update ids that nothing is
// missing, mends what is, and reconnects. A [Handler] gets everything as records, in order, with the
// gaps marked. [Hooks] tell what happens underneath.
//
// # What is done when something goes wrong
//
// A symbol that misses an update, or of whose stream a frame made no sense, gets a Gap record and is
// resynced alone, on the same connection. A connection that ends, falls silent, announces its end, or
// does not acknowledge its subscriptions is replaced after a random delay that grows with each failure,
// and its symbols are resynced. When the Handler is slower than the exchange, frames wait in a bounded
// queue; beyond the bound they are dropped, and the symbols concerned get a Gap and are resynced. The
// answers 429 and 418 stop all requests of the Client for as long as the exchange says. A book that is
// not known cannot be read: View returns [ErrNotSynced].
//
// # Concurrency
//
// Client and DepthSyncer are safe for concurrent use. Each connection of a DepthSyncer has one
// goroutine that owns its books; View takes a read lock on one book, and holds up only that book's
// next change. The Handler is called by these goroutines, one call at a time.
//
// # Limitations
//
// The request weight is counted per Client, and corrected by what the exchange says in each answer:
// several Clients on one IP see each other's use only after a request of their own. Minutes are those
// of the local clock. A book holds what its snapshot held and what has changed since: beyond the
// snapshot's last level it is incomplete. Trades that happen while a connection is down, or whose
// frames are dropped, are not fetched afterwards; their ids show it. The undocumented raw trades of the
// futures markets are taken where the exchange sends them; those outside the market (insurance fund,
// auto-deleveraging) are left out and counted. Of SBE and FIX nothing is read.
package binance
