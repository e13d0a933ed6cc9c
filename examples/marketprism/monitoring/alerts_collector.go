package monitoring

import (
	"time"

	"github.com/marketprism/marketprism/examples/marketprism/metrics"
)

const minute = time.Minute

// spot returns a series of the spot market.
func spot(name, values string, labels ...string) Series {
	text := name + `{exchange="binance",market="spot"`
	for i := 0; i+1 < len(labels); i += 2 {
		text += "," + labels[i] + `="` + labels[i+1] + `"`
	}
	return Series{text + "}", values}
}

func one(s ...Series) [][]Series { return [][]Series{s} }

// quantile is the q-quantile of a histogram by some labels.
func quantile(q, by, name, window string) string {
	return "histogram_quantile(" + q + ", sum by (" + by + ", le) (rate(" + name + "_bucket[" + window + "])))"
}

func collectorAlerts() []Alert {
	const venue = "{{ $labels.exchange }} {{ $labels.market }}"
	const lagBucket = metrics.EventLag + "_bucket"
	return []Alert{
		{
			Name: "ExchangeConnectionDown", Expr: metrics.ConnectionStatus + " == {0}", Limits: limits(0), For: 5 * minute, Severity: critical,
			Summary: venue + " has had no connection for 5 minutes",
			Fire:    []Series{spot(metrics.ConnectionStatus, "1x4 0x60")}, Since: 5 * step,
			On: `exchange="binance",market="spot"`, Says: "binance spot has had no connection for 5 minutes",
			Quiet: one(spot(metrics.ConnectionStatus, "1x4 0x18 1 0x60")), // one good sample in between
		}, {
			Name: "CollectorMetricsAbsent", Expr: "absent(" + metrics.ConnectionStatus + ")", For: 5 * minute, Severity: critical,
			Summary: "No process exports " + metrics.ConnectionStatus + ": ExchangeConnectionDown cannot fire",
			Fire:    []Series{{`up{job="marketprism"}`, "1x80"}},
			Says:    "No process exports marketprism_collector_connection_status: ExchangeConnectionDown cannot fire",
			Quiet:   one(spot(metrics.ConnectionStatus, "0x80")),
		}, {
			Name: "ExchangeConnectionFlapping", Severity: warning, Limits: limits(5),
			Expr:    "sum by (exchange, market) (increase(" + metrics.Reconnects + `{reason!~"max_age|manual"}[15m])) > {0}`,
			Summary: "{{ $value | humanize }} unplanned reconnects in 15 minutes on " + venue,
			Fire:    []Series{spot(metrics.Reconnects, "0x20 6x60", "reason", "read_error")}, Since: 21 * step,
			On: `exchange="binance",market="spot"`, Says: "6 unplanned reconnects in 15 minutes on binance spot",
			Quiet: one(spot(metrics.Reconnects, "0x20 5x60", "reason", "read_error"), spot(metrics.Reconnects, "0+1x80", "reason", "max_age")),
		}, {
			Name: "ExchangeFeedStale", Expr: "time() - max by (exchange, market) (" + metrics.LastMessage + ") > {0}", Limits: limits(30), For: minute, Severity: critical,
			Summary: "No message from " + venue + " for {{ $value | humanizeDuration }}",
			Fire:    []Series{spot(metrics.LastMessage, "0x40")}, Since: 3 * step,
			On: `exchange="binance",market="spot"`, Says: "No message from binance spot for 1m 45s",
			Quiet: one(spot(metrics.LastMessage, "-30+15x40")),
		}, {
			Name: "ExchangeEventLagHigh", Expr: quantile("0.99", "exchange, market", metrics.EventLag, "5m") + " > {0}", Limits: limits(2), For: 10 * minute, Severity: warning,
			Summary: "p99 lag from exchange to receipt on " + venue + " is {{ $value | humanizeDuration }}",
			Fire:    []Series{spot(lagBucket, "0+96.25x100", "le", "1"), spot(lagBucket, "0+100x100", "le", "2.5"), spot(lagBucket, "0+100x100", "le", "+Inf")}, Since: step,
			On: `exchange="binance",market="spot"`, Says: "p99 lag from exchange to receipt on binance spot is 2.1s",
			Quiet: one(spot(lagBucket, "0+97.5x100", "le", "1"), spot(lagBucket, "0+100x100", "le", "2.5"), spot(lagBucket, "0+100x100", "le", "+Inf")),
		}, {
			Name: "CollectorDroppingMessages", Expr: "sum by (exchange, market, reason) (rate(" + metrics.DroppedMessages + `{reason="queue_full"}[5m])) > {0}`, Limits: limits(0), For: 5 * minute, Severity: critical,
			Summary: "The collector drops {{ $value | printf \"%.2f\" }} messages a second ({{ $labels.reason }}) on " + venue,
			Fire:    []Series{spot(metrics.DroppedMessages, "0+1x60", "reason", "queue_full")}, Since: step,
			On: `exchange="binance",market="spot",reason="queue_full"`, Says: "The collector drops 0.07 messages a second (queue_full) on binance spot",
			Quiet: one(spot(metrics.DroppedMessages, "7x60", "reason", "queue_full"), spot(metrics.DroppedMessages, "0+1x60", "reason", "unknown_symbol")),
		}, {
			Name: "CollectorDecodeErrors", Expr: "sum by (exchange, market, channel) (increase(" + metrics.DecodeErrors + "[10m])) > {0}", Limits: limits(5), Severity: warning,
			Summary: "{{ $value | humanize }} undecodable {{ $labels.channel }} messages in 10 minutes on " + venue,
			Fire:    []Series{spot(metrics.DecodeErrors, "0x20 6x60", "channel", "depth")}, Since: 21 * step,
			On: `channel="depth",exchange="binance",market="spot"`, Says: "6 undecodable depth messages in 10 minutes on binance spot",
			Quiet: one(spot(metrics.DecodeErrors, "0x20 5x60", "channel", "depth")),
		}, {
			Name: "ExchangeRateLimitNear", Expr: metrics.RestUsedWeight + " / (" + metrics.RestWeightLimit + " > 0) > {0}", Limits: limits(0.8), For: 2 * minute, Severity: warning,
			Summary: "REST weight is at {{ $value | humanizePercentage }} of the limit on " + venue,
			Fire:    []Series{spot(metrics.RestUsedWeight, "4860x40"), spot(metrics.RestWeightLimit, "6000x40")},
			On:      `exchange="binance",market="spot"`, Says: "REST weight is at 81% of the limit on binance spot",
			Quiet: one(spot(metrics.RestUsedWeight, "4740x40"), spot(metrics.RestWeightLimit, "6000x40")),
		}, {
			Name: "ExchangeRestBlocked", Expr: metrics.RestBlockedUntil + " > time()", Severity: critical,
			Summary: "The exchange rejects REST requests of " + venue + " (418 or 429)",
			Fire:    []Series{spot(metrics.RestBlockedUntil, "1+15x40")},
			On:      `exchange="binance",market="spot"`, Says: "The exchange rejects REST requests of binance spot (418 or 429)",
			Quiet: one(spot(metrics.RestBlockedUntil, "-1+15x40")),
		}, {
			Name: "ExchangeClockSkew", Expr: "abs(" + metrics.ClockOffset + ") > {0}", Limits: limits(0.5), For: 10 * minute, Severity: warning,
			Summary: "The local clock differs from that of " + venue + " by {{ $value | humanizeDuration }}",
			Fire:    []Series{spot(metrics.ClockOffset, "-0.51x60")},
			On:      `exchange="binance",market="spot"`, Says: "The local clock differs from that of binance spot by 510ms",
			Quiet: one(spot(metrics.ClockOffset, "-0.49x60")),
		},
	}
}

func syncerAlerts() []Alert {
	const venue = "{{ $labels.exchange }} {{ $labels.market }}"
	const tookBucket = metrics.ResyncDuration + "_bucket"
	books := func(live, buffering string) []Series {
		return []Series{spot(metrics.Books, live, "state", "live"), spot(metrics.Books, buffering, "state", "buffering")}
	}
	return []Alert{
		{
			Name: "BooksNotLive", Expr: BooksLive + " < {0}", Limits: limits(0.95), For: 5 * minute, Severity: critical,
			Summary: "Only {{ $value | humanizePercentage }} of the books are live on " + venue,
			Fire:    books("940x60", "60x60"),
			On:      `exchange="binance",market="spot"`, Says: "Only 94% of the books are live on binance spot",
			Quiet: [][]Series{books("950x60", "50x60")},
		}, {
			Name: "BookGapRateHigh", Expr: "sum by (exchange, market) (increase(" + metrics.Gaps + "[10m])) > {0}", Limits: limits(20), For: 5 * minute, Severity: warning,
			Summary: "{{ $value | humanize }} gaps in 10 minutes on " + venue,
			Fire:    []Series{spot(metrics.Gaps, "0x20 21x60")}, Since: 21 * step,
			On: `exchange="binance",market="spot"`, Says: "21 gaps in 10 minutes on binance spot",
			Quiet: one(spot(metrics.Gaps, "0x20 20x60")),
		}, {
			Name: "ResyncStorm", For: 5 * minute, Severity: critical, Limits: limits(0.25),
			Expr:    "sum by (exchange, market) (increase(" + metrics.Resyncs + `{reason!~"disconnect|removed"}[10m])) > {0} * sum by (exchange, market) (` + metrics.Books + ")",
			Summary: "More than a quarter of the books of " + venue + " were lost within 10 minutes",
			Fire:    []Series{spot(metrics.Resyncs, "0x20 251x60", "reason", "sequence"), spot(metrics.Books, "1000x80", "state", "live")}, Since: 21 * step,
			On: `exchange="binance",market="spot"`, Says: "More than a quarter of the books of binance spot were lost within 10 minutes",
			Quiet: one(spot(metrics.Resyncs, "0x20 250x60", "reason", "sequence"), spot(metrics.Resyncs, "0x20 999x60", "reason", "disconnect"), spot(metrics.Books, "1000x80", "state", "live")),
		}, {
			Name: "ResyncSlow", Expr: quantile("0.95", "exchange, market", metrics.ResyncDuration, "15m") + " > {0}", Limits: limits(60), For: 10 * minute, Severity: warning,
			Summary: "p95 of the time to resync a book is {{ $value | humanizeDuration }} on " + venue,
			Fire:    []Series{spot(tookBucket, "0+50x100", "le", "30"), spot(tookBucket, "0+94.7x100", "le", "60"), spot(tookBucket, "0+100x100", "le", "120"), spot(tookBucket, "0+100x100", "le", "+Inf")}, Since: step,
			On: `exchange="binance",market="spot"`, Says: "p95 of the time to resync a book is 1m 3s on binance spot",
			Quiet: one(spot(tookBucket, "0+50x100", "le", "30"), spot(tookBucket, "0+100x100", "le", "60"), spot(tookBucket, "0+100x100", "le", "120"), spot(tookBucket, "0+100x100", "le", "+Inf")),
		}, {
			Name: "SnapshotFailures", For: 5 * minute, Severity: warning, Limits: limits(0.2),
			Expr: "sum by (exchange, market) (rate(" + metrics.Snapshots + `{result!~"ok|cancelled"}[5m])) / (sum by (exchange, market) (rate(` +
				metrics.Snapshots + "[5m])) > 0) > {0}",
			Summary: "{{ $value | humanizePercentage }} of the depth snapshots fail on " + venue,
			Fire:    []Series{spot(metrics.Snapshots, "0+21x60", "result", "rate_limited"), spot(metrics.Snapshots, "0+79x60", "result", "ok")}, Since: step,
			On: `exchange="binance",market="spot"`, Says: "21% of the depth snapshots fail on binance spot",
			Quiet: one(spot(metrics.Snapshots, "0+19x60", "result", "rate_limited"), spot(metrics.Snapshots, "0+81x60", "result", "ok")),
		}, {
			Name: "SymbolOutOfSync", Expr: metrics.BookSynced + " == {0}", Limits: limits(0), For: 15 * minute, Severity: warning,
			Summary: "The book of {{ $labels.symbol }} of " + venue + " has not been synced for 15 minutes",
			Fire:    []Series{spot(metrics.BookSynced, "0x90", "symbol", "BTCUSDT")},
			On:      `exchange="binance",market="spot",symbol="BTCUSDT"`, Says: "The book of BTCUSDT of binance spot has not been synced for 15 minutes",
			Quiet: one(spot(metrics.BookSynced, "0x58 1 0x60", "symbol", "BTCUSDT")),
		}, {
			Name: "SymbolsLeftOut", Expr: metrics.LeftOutNames + " > {0}", Limits: limits(0), For: 5 * minute, Severity: warning,
			Summary: "{{ $value | humanize }} names that " + venue + " lists are not followed ({{ $labels.reason }})",
			Fire:    []Series{spot(metrics.LeftOutNames, "1x60", "reason", "limit")},
			On:      `exchange="binance",market="spot",reason="limit"`, Says: "1 names that binance spot lists are not followed (limit)",
			Quiet: one(spot(metrics.LeftOutNames, "1x18 0 1x18 0x60", "reason", "invalid")),
		}, {
			Name: "BookDiffersFromExchange", Expr: "sum by (exchange, market) (increase(" + metrics.AuditDifferences + "[15m])) > {0}", Limits: limits(0), Severity: critical,
			Summary: "{{ $value | humanize }} levels of books differed from a new snapshot on " + venue,
			Fire:    []Series{spot(metrics.AuditDifferences, "0x20 1x60")}, Since: 21 * step,
			On: `exchange="binance",market="spot"`, Says: "1 levels of books differed from a new snapshot on binance spot",
			Quiet: one(spot(metrics.AuditDifferences, "5x80")),
		},
	}
}
