// Package binancetest is a Binance for tests: one process-local exchange with real HTTP and websocket
// servers, real update ids and real limits, whose order books are known exactly.
//
// # Usage
//
//	srv, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT")})
//	defer srv.Close()
//
// Point the program under test at [Server.RESTURL] and [Server.StreamURL]. With [Loopback], the
// default, that is all there is to do. With [InMemory] there is no socket: dial with
// [Server.DialContext] or use [Server.HTTPClient]; such a server works inside a testing/synctest
// bubble, where a day of connection lifetime passes in a moment.
//
// The books move in three ways, which mix freely. A script says each change with [Server.Apply] and
// [Server.Trade]. A seeded random walk does it with [Server.Walk], or by the clock with [Server.Run].
// A recording of the real exchange is replayed when [Config.Playback] is set.
//
// Whatever moves them, [Server.Book] and [Server.BookAt] tell what the book truly was, so that a test
// compares the book of the program under test with the truth after every event. Faults are switched
// on by methods: [Server.DropDepth], [Server.StaleSnapshots], [Server.Disconnect] and their like.
//
// # What is faithful
//
// Every book change takes an update id. Subscribers of a depth stream get the changes of one interval
// merged into one event, on a clock grid common to all symbols; snapshots show the book at a border of
// that grid; bookTicker and trades go out at once. Weights, the 429 and 418 answers, the limits on
// messages, streams and connections, the pings, the closing codes and the error bodies follow the
// venue's documents (github.com/binance/binance-spot-api-docs: web-socket-streams.md, rest-api.md,
// errors.md, as of July 2026, and the USDⓈ-M and COIN-M futures pages of developers.binance.com). Where
// these say nothing, the comment beside the code says what was chosen.
//
// Streams served are depth, bookTicker, trade and aggTrade. As on the real exchange, subscribing to
// anything else is acknowledged and stays silent.
//
// # Concurrency
//
// The streams in the address of a connection are subscribed when the handshake is answered; those of a
// SUBSCRIBE message when it is acknowledged. [Server.Subscribed] waits for either.
//
// All methods of a Server are safe for concurrent use. What a method changed is queued for every
// subscriber, in one order, when it returns.
package binancetest
