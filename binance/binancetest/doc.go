// Package binancetest runs a fake Binance inside a test process: HTTP and websocket servers with the
// exchange's update ids and limits, whose true order books a test can read.
//
// # Usage
//
//	srv, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT")})
//	defer srv.Close()
//
// Point the program under test at [Server.Endpoints], or at [Server.RESTURL] and [Server.StreamURL]. With [Loopback], the
// default, nothing else is needed. With [InMemory] there is no socket: dial with [Server.DialContext] or
// use [Server.HTTPClient]. An in-memory server works inside a testing/synctest bubble, where the 24 hours of
// a connection pass in a moment.
//
// The books change in three ways. A test makes each change with [Server.Apply], [Server.MovePrice],
// [Server.EmptyBook], [Server.Trade] and [Server.TradeFills]. A seeded random walk makes them with
// [Server.Walk], or on a clock with [Server.Run]; the two mix freely. A recording of the real exchange is
// replayed when [Config.Playback] is set. [Server.List] and [Server.Delist] add and remove symbols;
// [Server.SetStatus], [Server.SetRate] and [Server.SetSteps] change them.
//
// [Server.Book] and [Server.BookAt] return the true book, so that a test can compare the book of the
// program under test with it after every event. [Server.Stats] counts the limits of the exchange that the
// program broke. An [Observer] waits for the gap and for the next sync of a book, with a call each.
//
// Prices, price steps and quantity steps are of the size of the exchange's where a [Symbol] does not set them: BTCUSDT is
// about 100,000 with steps of 0.01 and 0.00001, SHIBUSDT about 0.000012.
//
// # Faults
//
// Methods and fields switch faults on. A fault with a number n applies to the next n events or requests; one
// with a bool lasts until it is switched off. [Server.Calm] ends them all. [Server.RunChaos] switches them on
// at random, from a seed.
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
//   - F16 REST errors, hanging and cut answers: [Server.RejectREST], [Server.RejectRESTFor] (429, 418, 403, 5xx), [Server.Ban], [Server.HangREST], [Server.TrickleREST], [Server.TruncateREST], [Server.GzipREST]
//   - F17 a missing pong closes the connection, always; missing pings: [Server.SkipPings]; unanswered pings of the client: [Server.IgnorePings]
//   - F18 a connection closed with a code or without, and refused afterwards: [Server.Disconnect], [Server.DisconnectOne], [Server.RejectStreams]
//   - F19 half-open connections: [Server.Silence], [Server.SilenceOne]
//   - F20 the exchange announces that it ends a connection: [Server.SendServerShutdown], [Server.SendServerShutdownOne], [Server.GoAway]; in other forms with [Server.SendRaw]
//   - F21 the end after 24 hours: [Config.Lifetime]
//   - F22 data before its acknowledgement, and after an unsubscription: [Server.DelayAcks], [Server.DelayUnsubscribes]
//   - F23 errors nested and flat, with a null id for invalid JSON, names that are refused: [Server.RejectCommands], [Server.FlatErrors], [Server.RefuseUnknownStreams]
//   - F24 unknown fields and events: [Server.ExtraFields], [Server.SendEvent], [Server.SendRaw], [Server.SendRawOne]
//   - F25 a stream name in upper case: acknowledged and silent, always
//   - F26 a symbol that is not ASCII: [Symbol.Name]
//   - F27 an event of 10,000 levels and more: [Server.Apply]
//   - F28 the largest quantity, and larger ones: [Server.Apply], [Symbol.BasePrecision]
//   - F29 the precision of prices changes while a stream runs: [Server.SetSteps]
//   - F30 the status changes, with or without a book, with continuing or restarted ids: [Server.SetStatus], [Symbol.Status], [Server.EmptyBook], [Server.RestartIDs], [Server.Delist]
//   - F31 the testnet's wipe: [Server.Wipe]
//   - F32 a third element in levels: [Server.ThirdElements]
//   - F33 a futures stream on the wrong route: acknowledged and silent, always
//   - F34 a futures event that follows a snapshot at once (pu is its id, U above): every one after a snapshot that F7 leaves alone
//   - F35 all-market streams that carry both futures markets: !contractInfo has the changes of the listed symbols; [Server.SendEvent] sends the other market's
//   - F36 a reader that is too slow: [Config.SendBuffer]
//   - F37 an SBE group of 0 or of up to 65,534 entries, longer blocks, an unknown template, a message cut short, exponents that change: [Server.Apply], [Server.LengthenSBE], [Server.UnknownSBE], [Server.TruncateSBE], [Server.VarySBEExponents]
//   - F38 two connections with different events: [Config.AlternateBatches]
//   - F39 trades lost, twice, with unused ids or those of no trades, and broken aggregates: [Server.DropTrades], [Server.DuplicateTrades], [Server.SkipTradeIDs], [Server.OtherTrades], [Server.BreakAggregate]
//   - F40 a clock that jumps or goes backwards: [Server.SetClock]
//   - F41 an answer to exchangeInfo that is no listing, or a wrong one: [Server.MisleadListings]; one with names that are no symbols: [Server.ListNames]
//
// # What is faithful
//
// Every book change takes an update id. Subscribers of a depth stream get the changes of one interval
// in one event, on a clock grid common to all symbols; snapshots show the book at a border of that grid;
// bookTicker and trades are sent at once. Weights, the 429 and 418 answers, the limits on
// messages, streams and connections, the pings, the closing codes and the error bodies follow the
// venue's documents (github.com/binance/binance-spot-api-docs: web-socket-streams.md, rest-api.md,
// errors.md, as of July 2026, and the USDⓈ-M and COIN-M futures pages of developers.binance.com). Where
// these are silent, the comment beside the code states what was chosen.
//
// A spot connection with an API key in its handshake gets the binary streams, which the exchange serves
// from separate hosts: depth, at the speed of Config.Tick, depth20, bestBidAsk and trade in SBE
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
// SUBSCRIBE message when it is acknowledged. [Server.Subscribed] blocks until then.
//
// All methods of a Server are safe for concurrent use. When a method returns, the events it caused are
// queued for every subscriber, in the same order for all.
package binancetest
