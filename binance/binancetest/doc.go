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
// The books move in three ways, which mix freely. A script says each change with [Server.Apply],
// [Server.MovePrice], [Server.EmptyBook], [Server.Trade] and [Server.TradeFills]. A seeded random walk does
// it with [Server.Walk], or by the clock with [Server.Run]. A recording of the real exchange is replayed
// when [Config.Playback] is set. Symbols come and go with [Server.List] and [Server.Delist], and change with
// [Server.SetStatus], [Server.SetRate] and [Server.SetSteps].
//
// Whatever moves them, [Server.Book] and [Server.BookAt] tell what the book truly was, so that a test
// compares the book of the program under test with the truth after every event, and [Server.Stats] tells
// which limits of the exchange the program has broken.
//
// # Faults
//
// Faults are switched on by methods and fields. Those with a number n wait for the next n events or
// requests; those with a switch last. [Server.Calm] ends them all. [Server.RunChaos] throws them at random,
// from a seed.
//
//   - F1 one event lost: [Server.DropDepth]
//   - F2 events lost right after a snapshot: [Server.DropDepthAtSnapshot]
//   - F3 an event twice: [Server.DuplicateDepth]
//   - F4 two events in the wrong order: [Server.SwapDepth]
//   - F5 a snapshot older than the first event: [Server.StaleSnapshots], [Server.DelaySnapshots], [Server.DelaySnapshotsFor]
//   - F6 a snapshot exactly at the end of an event: every snapshot, unless F7 is on
//   - F7 a snapshot inside an event: [Config.MidBatchSnapshots], [Server.MidBatchSnapshots]
//   - F8 a snapshot newer than every event: [Server.HoldDepth]
//   - F9 a symbol without events: [Server.SetRate], [Symbol.Rate]
//   - F10 an event, or a book, with both sides empty: [Server.Apply] without levels, [Server.EmptyBook]
//   - F11 an event, or a book, with one side: [Server.Apply], [Symbol.Bids], [Symbol.Asks]
//   - F12 quantity 0 for a level that is not there: [Server.Apply]
//   - F13 the price walks to levels beyond the snapshot: [Server.Apply] far away, then [Server.MovePrice]
//   - F14 a snapshot with fewer levels than asked for: [Symbol.Levels], [Symbol.Bids], [Symbol.Asks]
//   - F15 an empty snapshot with id -1: [Server.List] with a [Symbol.LastID] of -1
//   - F16 REST in trouble: [Server.RejectREST], [Server.RejectRESTFor] (429, 418, 403, 5xx), [Server.HangREST], [Server.TruncateREST], [Server.GzipREST]
//   - F17 a pong that does not come closes the connection, always; pings that do not come: [Server.SkipPings]; pings of the client that are not answered: [Server.IgnorePings]
//   - F18 closed with a code or without, and not opened again: [Server.Disconnect], [Server.DisconnectOne], [Server.RejectStreams]
//   - F19 half-open connections: [Server.Silence], [Server.SilenceOne]
//   - F20 the exchange goes away: [Server.SendServerShutdown], [Server.SendServerShutdownOne], [Server.GoAway]; in other forms with [Server.SendRaw]
//   - F21 the end after 24 hours: [Config.Lifetime]
//   - F22 data before its acknowledgement, and after it has ended: [Server.DelayAcks], [Server.DelayUnsubscribes]
//   - F23 errors nested and flat; their id is null for what is no JSON: [Server.RejectCommands], [Server.FlatErrors]
//   - F24 unknown fields and events: [Server.ExtraFields], [Server.SendEvent], [Server.SendRaw], [Server.SendRawOne]
//   - F25 a stream name in upper case: acknowledged and silent, always
//   - F26 a symbol that is not ASCII: [Symbol.Name]
//   - F27 an event of 10,000 levels and more: [Server.Apply]
//   - F28 the largest quantity: [Server.Apply]
//   - F29 another precision of prices in mid-stream: [Server.SetSteps]
//   - F30 another status, with or without a book, with the ids going on or not: [Server.SetStatus], [Symbol.Status], [Server.EmptyBook], [Server.RestartIDs], [Server.Delist]
//   - F31 the testnet's wipe: [Server.Wipe]
//   - F32 a third element in levels: [Server.ThirdElements]
//   - F33 a futures stream on the wrong route: acknowledged and silent, always
//   - F34 a futures event that follows a snapshot at once (pu is its id, U above): every one after a snapshot that F7 leaves alone
//   - F35 all-market streams that carry both futures markets: !contractInfo has the changes of the listed symbols; [Server.SendEvent] sends the other market's
//   - F36 a reader that is too slow: [Config.SendQueue]
//   - F37 an SBE group of 0 or of up to 65,534 entries, longer blocks, an unknown template, a message cut short, exponents that change: [Server.Apply], [Server.LengthenSBE], [Server.UnknownSBE], [Server.TruncateSBE], [Server.VarySBEExponents]
//   - F38 two connections with different events: [Config.AlternateBatches]
//   - F39 trades lost, twice, never there, and broken aggregates: [Server.DropTrades], [Server.DuplicateTrades], [Server.SkipTradeIDs], [Server.BreakAggregate]
//   - F40 a clock that jumps or goes backwards: [Server.SetClock]
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
// A spot connection that brings an API key in its handshake is one of the binary streams, for which the
// exchange has hosts of their own: depth, at the speed of Config.Tick, depth20, bestBidAsk and trade in SBE
// (sbe-market-data-streams.md), requests and their answers in JSON.
//
// Streams served are depth at each speed of the market, the partial depth streams of 5, 10 and 20
// levels, bookTicker, trade, aggTrade and, on futures, !contractInfo. As on the real exchange, subscribing
// to anything else is acknowledged and stays silent. REST serves ping, time, exchangeInfo, depth, trades,
// historicalTrades (on futures with any API key) and aggTrades, the last three from the trades of this
// run, of which Config.TradeHistory are kept.
//
// # Concurrency
//
// The streams in the address of a connection are subscribed when the handshake is answered; those of a
// SUBSCRIBE message when it is acknowledged. [Server.Subscribed] waits for either.
//
// All methods of a Server are safe for concurrent use. What a method changed is queued for every
// subscriber, in one order, when it returns.
package binancetest
