// Package monitoring generates the monitoring of the pipeline from the catalogue of its metrics: recording rules, alerts
// with their unit tests, and Grafana dashboards. The files in the folders below it are committed;
// go test ./examples/marketprism/monitoring -update writes them, and without the flag the test compares them.
//
// Names of metrics are the constants of package metrics, so a metric that is renamed breaks the build
// instead of an alert. The other tests of this package run the tools that would read the files:
// promtool, amtool, systemd-analyze, and a Prometheus and an Alertmanager on the real pipeline. Where a
// tool is missing they skip; under make monitoring-check they fail.
package monitoring
