// Package binance reads market data of Binance: spot, USDⓈ-M futures and COIN-M futures. It keeps local
// order books equal to the exchange's, and turns depth, trades and best prices into records.
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
// [DepthSyncer.Best] gives the best prices in one line. Who knows another library finds its program and the same one here
// in COMING_FROM.md.
//
// A [Client] makes REST requests and opens connections. A [Stream] is one websocket connection, for
// programs that want the frames themselves, with a [Decoder] for them. A [DepthSyncer] does everything
// books need: it connects, subscribes, fetches snapshots, proves by the update ids that no update is
// missing, resyncs where one is, and reconnects. Status and the error of Ready say what a book that is not synced
// waits for, why the last attempt failed and when the next one is made.
//
// A [Handler] gets all records in order, with the gaps marked; marketprism.On makes one of a func for each kind,
// [RouteSymbols] gives each symbol its own, and sink.Handler makes one of a bus, a store or a queue.
// sink.RunStages ends the driver before these, so that the last Gaps arrive. [Hooks] report events of the connections
// and books.
//
// Config.SBE selects spot's binary streams, for programs with an API key. The rest of this page holds for
// them too; their bestBidAsk takes the place of bookTicker.
//
// # How deep a book is known, and how that is proved
//
// Snapshots cost request weight, which a [Budget] limits to so much a minute for all Clients of a family
// of markets. The most urgent requests go first: for books that are no longer synced, calls of the program,
// for books that never were, for missed trades, to deepen books, then refreshes and polls. A part of each
// minute's weight is kept for books that are not synced. Among these the books that the program reads come
// first, then those that were added earlier. Where many books wait, each is synced from a small
// snapshot and deepened later without an interruption; [orderbook.Book] says how far each side is known.
// A refresh joins a fresh snapshot beside the running book and compares the two at one update id. It is
// made when the price nears the end of the known depth, by the clock, when a book disagrees with the
// exchange's bookTicker, and on demand.
//
// Add and Remove change the symbols while Run runs; with DepthConfig.AllTrading a [SymbolFilter] chooses
// them from those that the exchange lists. View reads a whole book; Top and Watch return published
// copies of its best levels.
//
// # Faults
//
// A symbol that misses an update, or whose frame cannot be decoded, gets a Gap record and is resynced
// alone, on the same connection. A connection that ends, falls silent, or does not acknowledge its
// subscriptions is opened again after a random delay that grows with each failure, and its symbols are
// resynced. If the Handler is slower than the exchange, frames wait in a bounded queue; when that is full the
// connection is not read further, and the system and the exchange hold the rest. Only when a ping of the exchange
// could not be answered in time any more, 50 s behind on spot, are frames of single streams dropped; their symbols
// get a Gap, and are resynced when the connection has caught up. How much the exchange holds before it ends the
// connection is not documented.
//
// A process that was stopped, by a busy host, a migration or a debugger, first reads what has come meanwhile. Its
// own time limits, of silence and of acknowledgements, start over, and Hooks.Paused reports it. A stop of less
// than 50 s costs nothing on spot if the exchange has held what was sent; a longer one costs a reconnect of each
// connection. Only the socket is sure to hold something: a Config.DialContext that calls SetReadBuffer of its
// net.TCPConn makes it hold more, up to a bound of the system (net.core.rmem_max on Linux).
//
// The answers 429 and 418 stop all requests that share the Budget for as long as the exchange says. A book that
// is not synced cannot be read: View returns [ErrNotSynced].
//
// # The network
//
// REST requests and websocket handshakes are made by net/http with the same settings: a proxy (http, https,
// socks5 or socks5h) from the environment, from Config.Proxy or from the Transport of Config.HTTPClient, and
// Config.TLS for an own authority, a client certificate or another server name. [Endpoints] may have a path.
// To use several addresses of the host, give each its own Client, with Config.LocalAddr and a Budget of its
// own: the exchange counts weight and connections by address.
//
// REST uses HTTP/2. A connection on which nothing has come for 10 s gets a ping, and is closed if 5 s pass
// without an answer; a given HTTPClient does that if its Transport sets http.HTTP2Config. After a request
// that timed out, later ones are made on new connections. A broken proxy, a refused redirect
// ([RedirectError]) and a panic of a package below ([PanicError]) are errors of one request or connection,
// which is tried again.
//
// # Rotation of connections
//
// A connection is replaced before the exchange ends it: when it has reached DepthConfig.MaxConnAge, when
// the exchange announces its end, when a watchdog finds that it is open but dead, and when
// [DepthSyncer.Rotate] asks for it. The new connection is subscribed beside the old one and each event is
// used once, from whichever brings it first. The old one is closed when the ids prove that the new one
// continues every stream, or a stream has been silent on both for a while. If the new one fails, the old
// one continues and the next attempt follows later. With DepthConfig.Redundancy two connections carry
// every stream all the time, and either may end without a gap. A stream that was acknowledged but stays
// silent is subscribed again.
//
// Trades that no connection has brought are fetched and emitted before the trades that follow them, each
// once. A [Recorder] writes everything received to files, unchanged.
//
// # Concurrency
//
// Client and DepthSyncer are safe for concurrent use. Each group of connections that carries the same
// streams has one goroutine that owns their books and calls the Handler, one call at a time. No lock is held while code
// of the program runs, so each Handler, hook and View may call any method; where Ready would wait for its own caller it
// returns [ErrReentrant].
//
// # Limitations
//
// Programs on one IP address that do not share a Budget see each other's use of request weight only after
// a request of their own. A book has the levels of its snapshot and those changed since: beyond its known
// depth it is incomplete. A renamed symbol is a new symbol. Missing trades that take longer than half a
// minute to fetch come after those that follow them, and those that an hour's weight cannot bring are
// reported as missing; raw trades of the futures markets are fetched only
// with Config.APIKey, which the exchange requires; trades before the first one of a Run are not fetched.
// The undocumented raw trades of the futures markets are used where the exchange sends them; those
// outside the market (insurance fund, auto-deleveraging) are counted and left out. FIX and SBE over REST
// are not supported.
package binance
