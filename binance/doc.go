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
// Config.SBE takes the binary streams that spot has, for programs with an API key: what follows holds for them as
// well, and bestBidAsk is to them what bookTicker is to JSON.
//
// # How deep a book is known, and how that is proved
//
// Snapshots cost request weight, of which a [Budget] has so much a minute. It is one for all Clients of
// a family of markets, and lets the most urgent requests go first: the book that was known and is not,
// the one that never was, the one to be deepened, then refreshes and polls. Where many books wait, each
// becomes known from a small snapshot and is deepened later, without an interruption; [orderbook.Book]
// tells how far each side is known. A refresh joins a fresh snapshot beside the running book and
// compares the two at one update id. It comes when the price nears the end of what is known, by the
// clock, when a book disagrees with the exchange's bookTicker, and on demand.
//
// Symbols come and go while Run runs, by Add and Remove, or with all that the exchange lists and a
// [SymbolFilter] chooses. View reads a whole book under a lock; Top and Watch give published copies of
// its best levels, for which nobody waits.
//
// # What is done when something goes wrong
//
// A symbol that misses an update, or of whose stream a frame made no sense, gets a Gap record and is
// resynced alone, on the same connection. A connection that ends, falls silent, or does not
// acknowledge its subscriptions is opened anew after a random delay that grows with each failure, and
// its symbols are resynced. When the Handler is slower than the exchange, frames wait in a bounded
// queue; beyond the bound they are dropped, and the symbols concerned get a Gap and are resynced. The
// answers 429 and 418 stop all requests that share the Budget for as long as the exchange says. A book that is
// not known cannot be read: View returns [ErrNotSynced].
//
// # How connections change without a gap
//
// A connection is replaced before the exchange ends it: when it has reached DepthConfig.MaxConnAge, when
// the exchange announces its end, when a watchdog finds that it is open but not alive, and when
// [DepthSyncer.Rotate] asks for it. The new one is subscribed beside the old one, whatever either brings
// first is used, and the old one is closed once the ids prove that the new one continues every stream, or
// a stream was silent on both for a while. If the new one fails, the old one goes on and the next
// attempt follows later. With DepthConfig.Redundancy two connections carry everything all the time, and
// either may end at any moment. A stream that is acknowledged and says nothing is subscribed again.
//
// Trades that no connection has brought are fetched and come as records before those that follow them,
// each once. A [Recorder] writes all that is received to files, unchanged.
//
// # Concurrency
//
// Client and DepthSyncer are safe for concurrent use. Each group of connections that
// carry the same streams has one goroutine that owns their books; View takes a read lock on one book, and holds up only that book's
// next change. The Handler is called by these goroutines, one call at a time.
//
// # Limitations
//
// Programs on one IP that do not share a Budget see each other's use of request weight only after a
// request of their own. A book holds what its snapshot held and what has changed since: beyond its
// known range it is incomplete. Symbols that the exchange renames are others. Missing trades that took longer than half a minute to fetch
// come after those that follow them, and on the futures markets raw ones are fetched only with Config.APIKey, which
// the exchange wants for it. Trades before the first one of a Run are not. The undocumented raw trades of the
// futures markets are taken where the exchange sends them; those outside the market (insurance fund,
// auto-deleveraging) are left out and counted. Of FIX, and of SBE on REST, nothing is read.
package binance
