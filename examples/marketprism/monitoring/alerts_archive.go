package monitoring

import (
	"time"

	"github.com/marketprism/marketprism/examples/marketprism/metrics"
)

func archiveAlerts() []Alert {
	const where = "{{ $labels.table }}"
	const depth = `table="depth_events"`
	inserts := func(failed, all string) []Series {
		return []Series{of(metrics.StoreErrors, depth+`,reason="timeout"`, failed), of(metrics.StoreInserts, depth, all)}
	}
	watermark := func(newest, connected string) []Series {
		return []Series{of(metrics.ArchiverWatermark, depth, newest), spot(metrics.ConnectionStatus, connected)}
	}
	return []Alert{
		{
			Name: "ArchiverHeartbeatStale", Expr: "time() - " + metrics.ArchiverHeartbeat + " > {0}", Limits: limits(120), For: minute, Severity: critical,
			Summary: "Archiver {{ $labels.archiver }} has made no progress for {{ $value | humanizeDuration }}",
			Fire:    []Series{of(metrics.ArchiverHeartbeat, `archiver="archive"`, "0x60")}, Since: 9 * step,
			On: `archiver="archive"`, Says: "Archiver archive has made no progress for 3m 15s",
			Quiet: one(of(metrics.ArchiverHeartbeat, `archiver="archive"`, "-120+15x60")),
		}, {
			Name: "ArchiverMetricsAbsent", Expr: "absent(" + metrics.ArchiverHeartbeat + ")", For: 5 * minute, Severity: critical,
			Summary: "No archiver exports a heartbeat",
			Fire:    []Series{{`up{job="marketprism"}`, "1x60"}},
			Says:    "No archiver exports a heartbeat",
			Quiet:   one(of(metrics.ArchiverHeartbeat, `archiver="archive"`, "0x60")),
		}, {
			Name: "ArchiveDataStale", For: 5 * minute, Severity: critical, Limits: limits(300, 1),
			Expr:    "time() - max by (table) (" + metrics.ArchiverWatermark + `{table="depth_events"}) > {0} and on () group(` + metrics.ConnectionStatus + " == {1})",
			Summary: "The newest row of " + where + " is {{ $value | humanizeDuration }} old while an exchange is connected",
			Fire:    watermark("0x60", "1x60"), Since: 21 * step,
			On: `table="depth_events"`, Says: "The newest row of depth_events is 10m 15s old while an exchange is connected",
			Quiet: [][]Series{watermark("-300+15x60", "1x60"), watermark("0x60", "0x60")},
		}, {
			Name: "ClickHouseInsertErrors", Expr: InsertErrors + " > {0}", Limits: limits(0.01), For: 5 * minute, Severity: warning,
			Summary: "{{ $value | humanizePercentage }} of the inserts into " + where + " fail",
			Fire:    inserts("0+1.1x60", "0+100x60"), Since: step,
			On: `table="depth_events"`, Says: "1.1% of the inserts into depth_events fail",
			Quiet: [][]Series{inserts("0+0.9x60", "0+100x60"), inserts("0x60", "0x60")},
		}, {
			Name: "ClickHouseInsertsFailing", Expr: InsertErrors + " > {0}", Limits: limits(0.5), For: 2 * minute, Severity: critical,
			Summary: "Most inserts into " + where + " fail",
			Fire:    inserts("0+51x60", "0+100x60"), Since: step,
			On: `table="depth_events"`, Says: "Most inserts into depth_events fail",
			Quiet: [][]Series{inserts("0+49x60", "0+100x60")},
		}, {
			Name: "ClickHouseUnreachable", Expr: metrics.StoreStatus + " == {0}", Limits: limits(0), For: 2 * minute, Severity: critical,
			Summary: "{{ $labels.instance }} cannot reach ClickHouse",
			Fire:    []Series{of(metrics.StoreStatus, `instance="a"`, "0x60")},
			On:      `instance="a"`, Says: "a cannot reach ClickHouse",
			Quiet: one(of(metrics.StoreStatus, `instance="a"`, "0x7 1 0x60")),
		}, {
			Name: "ClickHouseTooManyParts", Expr: "max by (table) (" + metrics.StoreParts + ") > {0}", Limits: limits(1000), For: 10 * minute, Severity: warning,
			Summary: where + " has {{ $value | humanize }} active parts; inserts will be delayed",
			Fire:    []Series{of(metrics.StoreParts, depth, "1001x60")},
			On:      `table="depth_events"`, Says: "depth_events has 1.001k active parts; inserts will be delayed",
			Quiet: one(of(metrics.StoreParts, depth, "1000x60")),
		}, {
			Name: "ClickHouseDiskLow", Expr: "min by (disk) (" + metrics.StoreDiskFree + " / " + metrics.StoreDiskTotal + ") < {0}", Limits: limits(0.15), For: 15 * minute, Severity: warning,
			Summary: "ClickHouse's disk {{ $labels.disk }} has {{ $value | humanizePercentage }} free",
			Fire:    []Series{of(metrics.StoreDiskFree, `disk="default"`, "14x80"), of(metrics.StoreDiskTotal, `disk="default"`, "100x80")},
			On:      `disk="default"`, Says: "ClickHouse's disk default has 14% free",
			Quiet: one(of(metrics.StoreDiskFree, `disk="default"`, "15x80"), of(metrics.StoreDiskTotal, `disk="default"`, "100x80")),
		}, {
			Name: "ArchiverBufferGrowing", Expr: "max by (table) (" + metrics.ArchiverRows + ") > {0}", Limits: limits(500000), For: 5 * minute, Severity: warning,
			Summary: "The archiver holds {{ $value | humanize }} rows of " + where + " that are not stored",
			Fire:    []Series{of(metrics.ArchiverRows, depth, "500001x60")},
			On:      `table="depth_events"`, Says: "The archiver holds 500k rows of depth_events that are not stored",
			Quiet: one(of(metrics.ArchiverRows, depth, "500000x60")),
		}, {
			Name: "ServiceHeartbeatMissing", Expr: "time() - " + metrics.ServiceHeartbeat + " > {0}", Limits: limits(60), For: minute, Severity: critical,
			Summary: "Service {{ $labels.service }} has made no progress for {{ $value | humanizeDuration }}",
			Fire:    []Series{of(metrics.ServiceHeartbeat, `service="marketprism"`, "0x60")}, Since: 5 * step,
			On: `service="marketprism"`, Says: "Service marketprism has made no progress for 2m 15s",
			Quiet: one(of(metrics.ServiceHeartbeat, `service="marketprism"`, "-60+15x60")),
		},
	}
}

func hostAlerts() []Alert {
	const host = "{{ $labels.instance }}"
	const real = `{fstype!~"tmpfs|ramfs|overlay|squashfs"}`
	disk := func(free, size, readonly string) []Series {
		const at = `instance="a",mountpoint="/",fstype="ext4"`
		return []Series{of("node_filesystem_avail_bytes", at, free), of("node_filesystem_size_bytes", at, size), of("node_filesystem_readonly", at, readonly)}
	}
	clock := func(synced, maxError string) []Series {
		return []Series{of("node_timex_sync_status", `instance="a"`, synced), of("node_timex_maxerror_seconds", `instance="a"`, maxError)}
	}
	memory := func(available string) []Series {
		return []Series{of("node_memory_MemAvailable_bytes", `instance="a"`, available), of("node_memory_MemTotal_bytes", `instance="a"`, "100x60")}
	}
	return []Alert{
		{
			Name: "HostDiskSpaceLow", For: 15 * minute, Severity: warning, Limits: limits(0.15, 0),
			Expr:    "node_filesystem_avail_bytes" + real + " / node_filesystem_size_bytes < {0} and node_filesystem_readonly == {1}",
			Summary: "{{ $labels.mountpoint }} on " + host + " has {{ $value | humanizePercentage }} free",
			Fire:    disk("14x80", "100x80", "0x80"),
			On:      `fstype="ext4",instance="a",mountpoint="/"`, Says: "/ on a has 14% free",
			Quiet: [][]Series{disk("15x80", "100x80", "0x80"), disk("14x80", "100x80", "1x80")},
		}, {
			Name: "HostDiskWillFillIn24h", For: time.Hour, Severity: warning, Limits: []Limit{{Value: 0, Step: 1e12}, {Value: 0.4}},
			Expr:    "predict_linear(node_filesystem_avail_bytes" + real + "[6h], 86400) < {0} and node_filesystem_avail_bytes / node_filesystem_size_bytes < {1}",
			Summary: "{{ $labels.mountpoint }} on " + host + " will be full within a day",
			Fire:    disk("39000000000-7000000x250", "100000000000x250", "0x250"), Since: step,
			On: `fstype="ext4",instance="a",mountpoint="/"`, Says: "/ on a will be full within a day",
			Quiet: [][]Series{disk("39000000000x250", "100000000000x250", "0x250"), disk("45000000000-8200000x250", "100000000000x250", "0x250")},
		}, {
			Name: "HostMemoryLow", Expr: "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < {0}", Limits: limits(0.1), For: 10 * minute, Severity: warning,
			Summary: host + " has {{ $value | humanizePercentage }} of its memory available",
			Fire:    memory("9x60"),
			On:      `instance="a"`, Says: "a has 9% of its memory available",
			Quiet: [][]Series{memory("10x60")},
		}, {
			Name: "HostCpuHigh", Expr: `1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m])) > {0}`, Limits: limits(0.9), For: 15 * minute, Severity: warning,
			Summary: "The processors of " + host + " are {{ $value | humanizePercentage }} busy",
			Fire:    []Series{of("node_cpu_seconds_total", `instance="a",cpu="0",mode="idle"`, "0+1.35x100")}, Since: step,
			On: `instance="a"`, Says: "The processors of a are 91% busy",
			Quiet: one(of("node_cpu_seconds_total", `instance="a",cpu="0",mode="idle"`, "0+1.65x100")),
		}, {
			Name: "HostClockNotSynchronised", For: 10 * minute, Severity: warning, Limits: limits(0, 16),
			Expr:    "min_over_time(node_timex_sync_status[5m]) == {0} and node_timex_maxerror_seconds >= {1}",
			Summary: "The clock of " + host + " is not synchronised; lag figures are unreliable",
			Fire:    clock("0x60", "16x60"),
			On:      `instance="a"`, Says: "The clock of a is not synchronised; lag figures are unreliable",
			Quiet: [][]Series{clock("0x60", "15x60"), clock("1x60", "16x60")},
		},
	}
}

func metaAlerts() []Alert {
	const target = "{{ $labels.job }} {{ $labels.instance }}"
	const job = `job="marketprism",instance="a"`
	return []Alert{
		{
			Name: "TargetDown", Expr: "up == {0}", Limits: limits(0), For: 2 * minute, Severity: critical,
			Summary: target + " cannot be scraped",
			Fire:    []Series{of("up", job, "0x40")},
			On:      `instance="a",job="marketprism"`, Says: "marketprism a cannot be scraped",
			Quiet: one(of("up", job, "0x7 1 0x40")),
		}, {
			Name: "ProcessRestarting", Expr: `changes(process_start_time_seconds{job=~"marketprism.*"}[30m]) > {0}`, Limits: limits(3), Severity: warning,
			Summary: target + " was restarted {{ $value }} times in 30 minutes",
			Fire:    []Series{of("process_start_time_seconds", job, "1 2 3 4 5x60")}, Since: 4 * step,
			On: `instance="a",job="marketprism"`, Says: "marketprism a was restarted 4 times in 30 minutes",
			Quiet: one(of("process_start_time_seconds", job, "1 2 3 4x60")),
		}, {
			Name: "ScrapeSeriesHigh", Expr: `scrape_samples_post_metric_relabeling{job=~"marketprism.*"} > {0}`, Limits: limits(50000), For: 10 * minute, Severity: warning,
			Summary: "{{ $labels.instance }} exposes {{ $value | humanize }} series; check the symbol policy",
			Fire:    []Series{of("scrape_samples_post_metric_relabeling", job, "50001x60")},
			On:      `instance="a",job="marketprism"`, Says: "a exposes 50k series; check the symbol policy",
			Quiet: one(of("scrape_samples_post_metric_relabeling", job, "50000x60")),
		}, {
			Name: "AlertmanagerNotificationsFailing", Expr: "sum by (integration) (rate(alertmanager_notifications_failed_total[5m])) > {0}", Limits: limits(0), For: 5 * minute, Severity: critical,
			Summary: "Alertmanager cannot deliver through {{ $labels.integration }}",
			Fire:    []Series{of("alertmanager_notifications_failed_total", `integration="webhook"`, "0+1x60")}, Since: step,
			On: `integration="webhook"`, Says: "Alertmanager cannot deliver through webhook",
			Quiet: one(of("alertmanager_notifications_failed_total", `integration="webhook"`, "9x60")),
		}, {
			Name: "PrometheusRuleFailures", Expr: "increase(prometheus_rule_evaluation_failures_total[5m]) > {0}", Limits: limits(0), For: 5 * minute, Severity: critical,
			Summary: "Prometheus fails to evaluate rules of {{ $labels.rule_group }}",
			Fire:    []Series{of("prometheus_rule_evaluation_failures_total", `rule_group="g"`, "0+0.01x60")}, Since: step,
			On: `rule_group="g"`, Says: "Prometheus fails to evaluate rules of g",
			Quiet: one(of("prometheus_rule_evaluation_failures_total", `rule_group="g"`, "9x60")),
		}, {
			Name: "LogPipelineSilent", Expr: "sum(rate(loki_distributor_lines_received_total[10m])) == {0}", Limits: limits(0), For: 10 * minute, Severity: warning,
			Summary: "Loki has received no line for 10 minutes",
			Fire:    []Series{of("loki_distributor_lines_received_total", `tenant="fake"`, "100x80")}, Since: step,
			Says:  "Loki has received no line for 10 minutes",
			Quiet: one(of("loki_distributor_lines_received_total", `tenant="fake"`, "100+0.1x80")),
		}, {
			Name: "ErrorLogRateHigh", Expr: "sum by (service, component) (rate(" + metrics.LogMessages + `{level="ERROR"}[5m])) > {0}`, Limits: limits(1), For: 5 * minute, Severity: warning,
			Summary: "{{ $labels.service }}/{{ $labels.component }} logs {{ $value | humanize }} errors a second",
			Fire:    []Series{of(metrics.LogMessages, `service="marketprism",component="bus",level="ERROR"`, "0+15.2x80")}, Since: 20 * step,
			On: `component="bus",service="marketprism"`, Says: "marketprism/bus logs 1.013 errors a second",
			Quiet: one(of(metrics.LogMessages, `service="marketprism",component="bus",level="ERROR"`, "0+14.8x80")),
		},
	}
}
