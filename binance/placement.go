package binance

import (
	"slices"

	"github.com/marketprism/marketprism/orderbook"
)

// A routeStreams is what a symbol has on one route: all of it shares a connection.
type routeStreams struct {
	route    route
	suffixes []string
}

// routesOf returns the streams of each symbol by their routes.
func (cfg *DepthConfig) routesOf(m *market, depth string) []routeStreams {
	books := routeStreams{m.bookRoute(), []string{depth}}
	if cfg.Tickers {
		books.suffixes = append(books.suffixes, m.ticker)
	}
	if cfg.Trades {
		books.suffixes = append(books.suffixes, tradeSuffix)
	}
	switch {
	case !cfg.AggTrades:
	case m.aggRoute() == books.route:
		books.suffixes = append(books.suffixes, aggTradeSuffix)
	default:
		return []routeStreams{books, {m.aggRoute(), []string{aggTradeSuffix}}}
	}
	return []routeStreams{books}
}

// place spreads symbols evenly over as few connections as will do, and returns the new ones. It is
// called with changing held.
func (d *DepthSyncer) place(symbols []*symbolBook) (opened []*shard) {
	feeds := slices.Clone(d.allShards())
	for _, rs := range d.routes {
		room := 0
		var open []*shard
		for _, f := range feeds {
			if f.route == rs.route {
				open = append(open, f)
				room += d.cfg.StreamsPerConn/len(rs.suffixes) - len(f.members)
			}
		}
		for ; room < len(symbols); room += d.cfg.StreamsPerConn / len(rs.suffixes) {
			f := newShard(len(feeds), d, rs)
			open, opened, feeds = append(open, f), append(opened, f), append(feeds, f)
		}
		for _, y := range symbols {
			f := slices.MinFunc(open, func(a, b *shard) int { return len(a.members) - len(b.members) })
			f.members = append(f.members, y)
			y.feeds = append(y.feeds, f)
			if len(rs.suffixes) > 0 && rs.suffixes[0] == d.depthSuffix {
				y.home = f
			}
		}
	}
	d.mu.Lock()
	d.feeds = feeds
	d.mu.Unlock()
	return opened
}

// allShards returns the feeds, to be read only.
func (d *DepthSyncer) allShards() []*shard {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.feeds
}

// follow makes what is known of a symbol that is to be followed.
func (d *DepthSyncer) follow(symbol string) (*symbolBook, error) {
	cfg := d.cfg.Sync
	cfg.SnapshotTimeout = -1                  // the fetcher bounds each request from when it is sent
	cfg.RefreshEvery, cfg.RefreshDepth = 0, 0 // the feeds plan refreshes, since they wait for request weight
	s, err := orderbook.NewSyncer(cfg)
	if err != nil {
		return nil, err
	}
	return newSymbolBook(d.client.Instrument(symbol), s, d.cfg.TopLevels), nil
}
