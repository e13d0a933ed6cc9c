package monitoring

import (
	"strings"

	"github.com/marketprism/marketprism/examples/marketprism/metrics"
)

// of returns a series of one stream, or of one consumer.
func of(name, labels, values string) Series { return Series{name + "{" + labels + "}", values} }

func busAlerts() []Alert {
	const (
		stream    = `stream="MD_BOOKS"`
		consumer  = `stream="MD_BOOKS",consumer="archive"`
		reader    = "{{ $labels.consumer }}"
		place     = "{{ $labels.stream }}"
		ackBucket = metrics.PublisherAck + "_bucket"
		away      = "avg_over_time(" + metrics.SpillAway + "[5m])" // a bus that comes and goes resets no alert
		pending   = "max by (stream, consumer) (" + metrics.ConsumerPending + ")"
	)
	often, seldom := strings.Repeat("0 1 ", 32), strings.Repeat("0 0 0 1 ", 16)
	waiting := func(pending, acks string) []Series {
		return []Series{of(metrics.ConsumerPending, consumer, pending), of(metrics.ConsumerAcks, consumer+`,kind="ack"`, acks)}
	}
	return []Alert{
		{
			Name: "BusDisconnected", Expr: metrics.BusStatus + " == {0}", Limits: limits(0), For: minute, Severity: critical,
			Summary: "{{ $labels.instance }} has lost its connection to NATS",
			Fire:    []Series{of(metrics.BusStatus, `instance="a"`, "0x40")},
			On:      `instance="a"`, Says: "a has lost its connection to NATS",
			Quiet: one(of(metrics.BusStatus, `instance="a"`, "0x3 1 0x40")),
		}, {
			Name: "BusAway", Expr: away + " > {0}", Limits: limits(0.3), For: minute, Severity: critical,
			Summary: "The bus does not accept the records of {{ $labels.instance }} a third of the time or more; they go to its disk",
			Fire:    []Series{of(metrics.SpillAway, `instance="a"`, often)}, Since: step,
			On: `instance="a"`, Says: "The bus does not accept the records of a a third of the time or more; they go to its disk",
			Quiet: [][]Series{{of(metrics.SpillAway, `instance="a"`, seldom)}, {of(metrics.SpillAway, `instance="a"`, "1 0x40")}},
		}, {
			Name: "DiskQueueBehind", Expr: metrics.SpillBehind + " > {0} and " + away + " <= {1}", Limits: limits(0, 0.3), For: 5 * minute, Severity: warning,
			Summary: "The bus accepts the records of {{ $labels.instance }}, but its disk queue does not get empty",
			Fire:    []Series{of(metrics.SpillBehind, `instance="a"`, "1x60"), of(metrics.SpillAway, `instance="a"`, seldom)},
			On:      `instance="a"`, Says: "The bus accepts the records of a, but its disk queue does not get empty",
			Quiet: [][]Series{{of(metrics.SpillBehind, `instance="a"`, "1x60"), of(metrics.SpillAway, `instance="a"`, often)},
				{of(metrics.SpillBehind, `instance="a"`, "1x15 0 1x15 0x60"), of(metrics.SpillAway, `instance="a"`, "0x60")}},
		}, {
			Name: "DiskQueueNearLimit", Expr: metrics.SpillQueuedBytes + " / (" + metrics.SpillMaxBytes + " > 0) > {0}", Limits: limits(0.7), For: minute, Severity: critical,
			Summary: "The disk queue of {{ $labels.instance }} is at {{ $value | humanizePercentage }} of its bytes; when it is full the collector waits",
			Fire:    []Series{of(metrics.SpillQueuedBytes, `instance="a"`, "71x40"), of(metrics.SpillMaxBytes, `instance="a"`, "100x40")},
			On:      `instance="a"`, Says: "The disk queue of a is at 71% of its bytes; when it is full the collector waits",
			Quiet: one(of(metrics.SpillQueuedBytes, `instance="a"`, "71x2 69x40"), of(metrics.SpillMaxBytes, `instance="a"`, "100x50")),
		}, {
			Name: "DiskQueueCorrupt", Expr: "increase(" + metrics.SpillCorrupt + "[1h]) > {0}", Limits: limits(0), Severity: critical,
			Summary: "{{ $value | humanize }} damaged places in the disk queue of {{ $labels.instance }}: records are lost",
			Fire:    []Series{of(metrics.SpillCorrupt, `instance="a"`, "0x20 1x60")}, Since: 21 * step,
			On: `instance="a"`, Says: "1 damaged places in the disk queue of a: records are lost",
			Quiet: one(of(metrics.SpillCorrupt, `instance="a"`, "1x80")),
		}, {
			Name: "DiskQueueRefused", Expr: "increase(" + metrics.SpillRecords + `{result="refused"}[1h]) > {0}`, Limits: limits(0), Severity: warning,
			Summary: "The bus refused {{ $value | humanize }} records from the disk queue of {{ $labels.instance }} within an hour",
			Fire:    []Series{of(metrics.SpillRecords, `instance="a",result="refused"`, "0x20 1x60")}, Since: 21 * step,
			On: `instance="a",result="refused"`, Says: "The bus refused 1 records from the disk queue of a within an hour",
			Quiet: one(of(metrics.SpillRecords, `instance="a",result="refused"`, "1x80"), of(metrics.SpillRecords, `instance="a",result="drained"`, "0+1x80")),
		}, {
			Name: "RecordsSuppressed", Expr: "increase(" + metrics.PublisherSuppressed + "[1h]) > {0}", Limits: limits(0), Severity: critical,
			Summary: "The bus has other messages in the place of records of {{ $labels.instance }}",
			Fire:    []Series{of(metrics.PublisherSuppressed, `instance="a"`, "0x20 1x60")}, Since: 21 * step,
			On: `instance="a"`, Says: "The bus has other messages in the place of records of a",
			Quiet: one(of(metrics.PublisherSuppressed, `instance="a"`, "1x80")),
		}, {
			Name: "UnexpectedCopies", For: 5 * minute, Severity: warning, Limits: limits(1000, 1),
			Expr:    "sum by (stream) (increase(" + metrics.PublisherDuplicates + "[15m])) > {0} and count by (stream) (" + metrics.PublisherDuplicates + ") == {1}",
			Summary: "One collector publishes to " + place + ", which had {{ $value | humanize }} of its messages already",
			Fire:    []Series{of(metrics.PublisherDuplicates, stream+`,instance="a"`, "0x20 1001x80")}, Since: 21 * step,
			On: stream, Says: "One collector publishes to MD_BOOKS, which had 1.001k of its messages already",
			Quiet: [][]Series{{of(metrics.PublisherDuplicates, stream+`,instance="a"`, "0x20 1000x80")},
				{of(metrics.PublisherDuplicates, stream+`,instance="a"`, "0+1000x100"), of(metrics.PublisherDuplicates, stream+`,instance="b"`, "0+1000x100")}},
		}, {
			Name: "PublishErrors", For: 5 * minute, Severity: critical, Limits: limits(0.001),
			Expr:    "sum by (stream) (rate(" + metrics.PublisherErrors + "[5m])) / (sum by (stream) (rate(" + metrics.PublisherMessages + "[5m])) > 0) > {0}",
			Summary: "{{ $value | humanizePercentage }} of the messages to " + place + " are not confirmed",
			Fire:    []Series{of(metrics.PublisherErrors, stream+`,reason="timeout"`, "0+0.11x60"), of(metrics.PublisherMessages, stream, "0+100x60")}, Since: step,
			On: `stream="MD_BOOKS"`, Says: "0.11% of the messages to MD_BOOKS are not confirmed",
			Quiet: one(of(metrics.PublisherErrors, stream+`,reason="timeout"`, "0+0.09x60"), of(metrics.PublisherMessages, stream, "0+100x60")),
		}, {
			Name: "PublishStopped", Expr: "sum by (stream) (rate(" + metrics.PublisherMessages + "[5m])) == {0}", Limits: limits(0), For: 3 * minute, Severity: critical,
			Summary: "Nothing has been published to " + place + " for 5 minutes",
			Fire:    []Series{of(metrics.PublisherMessages, stream, "100x60")}, Since: step,
			On: `stream="MD_BOOKS"`, Says: "Nothing has been published to MD_BOOKS for 5 minutes",
			Quiet: one(of(metrics.PublisherMessages, stream, "100+0.1x60")),
		}, {
			Name: "PublishAckSlow", Expr: quantile("0.99", "stream", metrics.PublisherAck, "5m") + " > {0}", Limits: limits(1), For: 10 * minute, Severity: warning,
			Summary: "p99 of the acknowledgement time of " + place + " is {{ $value | humanizeDuration }}",
			Fire: []Series{of(ackBucket, stream+`,le="0.5"`, "0+90x100"), of(ackBucket, stream+`,le="1"`, "0+98.9x100"),
				of(ackBucket, stream+`,le="2.5"`, "0+100x100"), of(ackBucket, stream+`,le="+Inf"`, "0+100x100")}, Since: step,
			On: `stream="MD_BOOKS"`, Says: "p99 of the acknowledgement time of MD_BOOKS is 1.136s",
			Quiet: one(of(ackBucket, stream+`,le="0.5"`, "0+90x100"), of(ackBucket, stream+`,le="1"`, "0+100x100"),
				of(ackBucket, stream+`,le="2.5"`, "0+100x100"), of(ackBucket, stream+`,le="+Inf"`, "0+100x100")),
		}, {
			Name: "StreamNearLimit", Expr: "max by (stream) (" + metrics.StreamBytes + " / (" + metrics.StreamMaxBytes + " > 0)) > {0}", Limits: limits(0.9), For: 10 * minute, Severity: warning,
			Summary: "Stream " + place + " is at {{ $value | humanizePercentage }} of its bytes; when it is full it rejects messages",
			Fire:    []Series{of(metrics.StreamBytes, stream, "91x60"), of(metrics.StreamMaxBytes, stream, "100x60")},
			On:      `stream="MD_BOOKS"`, Says: "Stream MD_BOOKS is at 91% of its bytes; when it is full it rejects messages",
			Quiet: [][]Series{{of(metrics.StreamBytes, stream, "89x60"), of(metrics.StreamMaxBytes, stream, "100x60")},
				{of(metrics.StreamBytes, stream, "91x60"), of(metrics.StreamMaxBytes, stream, "-1x60")}},
		}, {
			Name: "DeadLettersPresent", Expr: "max by (stream) (" + metrics.DeadLetters + ") > {0}", Limits: limits(0), For: 5 * minute, Severity: warning,
			Summary: "{{ $value | humanize }} dead letters in " + place,
			Fire:    []Series{of(metrics.DeadLetters, `stream="MD_DLQ"`, "1x40")},
			On:      `stream="MD_DLQ"`, Says: "1 dead letters in MD_DLQ",
			Quiet: one(of(metrics.DeadLetters, `stream="MD_DLQ"`, "0x40")),
		}, {
			Name: "DeadLettersGrowing", Expr: "sum by (stream) (increase(" + metrics.DeadLettersTotal + "[10m])) > {0}", Limits: limits(100), Severity: critical,
			Summary: "{{ $value | humanize }} messages of " + place + " became dead letters within 10 minutes",
			Fire:    []Series{of(metrics.DeadLettersTotal, stream+`,reason="refused"`, "0x20 101x60")}, Since: 21 * step,
			On: `stream="MD_BOOKS"`, Says: "101 messages of MD_BOOKS became dead letters within 10 minutes",
			Quiet: one(of(metrics.DeadLettersTotal, stream+`,reason="refused"`, "0x20 100x60")),
		}, {
			Name: "DeadLettersRefused", Expr: "sum by (stream) (increase(" + metrics.DeadLetterErrors + "[5m])) > {0}", Limits: limits(0), For: 2 * minute, Severity: critical,
			Summary: "Messages of " + place + " wait, because the stream of dead letters does not take one of them",
			Fire:    []Series{of(metrics.DeadLetterErrors, consumer, "0+1x60")}, Since: step,
			On: `stream="MD_BOOKS"`, Says: "Messages of MD_BOOKS wait, because the stream of dead letters does not take one of them",
			Quiet: one(of(metrics.DeadLetterErrors, consumer, "7x60")),
		}, {
			Name: "ConsumerLagHigh", Expr: pending + " > {0}", Limits: limits(50000), For: 5 * minute, Severity: warning,
			Summary: reader + " is {{ $value | humanize }} messages behind on " + place,
			Fire:    []Series{of(metrics.ConsumerPending, consumer, "50001x60")},
			On:      `consumer="archive",stream="MD_BOOKS"`, Says: "archive is 50k messages behind on MD_BOOKS",
			Quiet: one(of(metrics.ConsumerPending, consumer, "50000x60")),
		}, {
			Name: "ConsumerWillNotCatchUp", For: 15 * minute, Severity: critical, Limits: limits(10000, 0),
			Expr:    pending + " > {0} and max by (stream, consumer) (deriv(" + metrics.ConsumerPending + "[15m])) > {1}",
			Summary: reader + " keeps falling behind on " + place + " for 15 minutes",
			Fire:    []Series{of(metrics.ConsumerPending, consumer, "10001+1x140")}, Since: step,
			On: `consumer="archive",stream="MD_BOOKS"`, Says: "archive keeps falling behind on MD_BOOKS for 15 minutes",
			Quiet: [][]Series{{of(metrics.ConsumerPending, consumer, "9000+1x140")}, {of(metrics.ConsumerPending, consumer, "12000-1x140")}},
		}, {
			Name: "ConsumerStuck", For: 5 * minute, Severity: critical, Limits: limits(0, 0),
			Expr:    pending + " > {0} and on (stream, consumer) sum by (stream, consumer) (rate(" + metrics.ConsumerAcks + `{kind="ack"}[5m])) == {1}`,
			Summary: reader + " has messages waiting on " + place + " and acknowledges none",
			Fire:    waiting("1x60", "5x60"), Since: step,
			On: `consumer="archive",stream="MD_BOOKS"`, Says: "archive has messages waiting on MD_BOOKS and acknowledges none",
			Quiet: [][]Series{waiting("1x60", "5+0.1x60"), waiting("0x60", "5x60")},
		}, {
			Name: "ConsumerRedeliveriesHigh", For: 10 * minute, Severity: warning, Limits: limits(0.05),
			Expr: "sum by (stream, consumer) (rate(" + metrics.ConsumerRedeliveries + "[10m])) / (sum by (stream, consumer) (rate(" +
				metrics.ConsumerMessages + "[10m])) > 0) > {0}",
			Summary: "{{ $value | humanizePercentage }} of the deliveries to " + reader + " are redeliveries",
			Fire:    []Series{of(metrics.ConsumerRedeliveries, consumer, "0+5.1x100"), of(metrics.ConsumerMessages, consumer, "0+100x100")}, Since: step,
			On: `consumer="archive",stream="MD_BOOKS"`, Says: "5.1% of the deliveries to archive are redeliveries",
			Quiet: one(of(metrics.ConsumerRedeliveries, consumer, "0+4.9x100"), of(metrics.ConsumerMessages, consumer, "0+100x100")),
		},
	}
}
