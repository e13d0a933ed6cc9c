// Package metrics exports the metrics of a pipeline of binance, natsbus and chstore to Prometheus. It depends on no
// other part of the example, so other programs can use it.
//
// # Usage
//
//	m := metrics.New(metrics.Config{Service: "collect"})
//	err = m.Register(registry)
//
//	exchange := m.Exchange(marketprism.Spot)
//	client, err := binance.NewClient(binance.Config{Hooks: exchange.Hooks()})
//	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{Handler: exchange.Handler(next), …})
//	exchange.Observe(client, books)
//
//	bus := m.Bus()
//	meter := bus.Publisher()                   // its Hooks go to the natsbus.Publisher, which Observe then reads
//	reading := bus.Consumer(stream, durable)   // the same for a natsbus.Consumer
//	queue := m.Spill()                         // and, with Observe alone, for a sink.Spill
//	archive := m.Archive("archive", "")        // and for a chstore.Store
//	in := archive.Storing(store)               // the sink for the consumers
//	err = m.Poll(ctx)                          // until ctx ends: what only a server knows
//
// Catalogue lists every metric with its type, labels and help; docs/metrics.md is made from it, and so
// are the dashboards and the checks of the alerts.
//
// # What holds
//
// What the library counts is read from Stats when Prometheus asks, so nothing is done for it in
// between; hooks, and the wrappers around a handler and a sink, bring the durations and the reasons.
// Every series of a part exists, at 0, from the moment the part is named, so that the first event is an
// increase. Label values are closed sets: what is in none of them is "other". Only the families that
// say so have a series for each symbol, and SymbolPolicy bounds them.
//
// # Concurrency
//
// Everything may be used from several goroutines at once. Hooks take a few atomic additions.
//
// # Limitations
//
// Histograms are classic and native at once, which Prometheus stores both only if configured so. Time
// between two scrapes is the resolution of every gauge.
package metrics
