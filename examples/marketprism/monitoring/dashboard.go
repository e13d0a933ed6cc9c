package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// A Board is a Grafana dashboard.
type Board struct {
	UID    string // without the prefix "marketprism-"
	Title  string
	Panels []Panel
}

// A Panel is one panel of a Board.
type Panel struct {
	Kind        string // stat, timeseries, table, heatmap, logs
	Title, Help string
	Unit        string // as Grafana names it: s, bytes, percentunit, short, …
	Queries     []Target
	Good        string // of a stat: green from this value on ("1"), or up to it ("<30"); "" means no colour
}

// A Target is a query with the name of its series.
type Target struct{ Expr, Legend string }

// width and height of panels on Grafana's grid of 24 columns.
func (p *Panel) size() (w, h int) {
	switch p.Kind {
	case "stat":
		return 4, 4
	case "logs", "table":
		return 24, 8
	}
	return 12, 8
}

// JSON returns the dashboard as Grafana's provisioning reads it (classic schema 41), read-only.
func (b *Board) JSON() []byte {
	var panels []any
	x, y, row := 0, 0, 0
	for i := range b.Panels {
		p := &b.Panels[i]
		w, h := p.size()
		if x+w > 24 || h != row && x > 0 {
			x, y = 0, y+row
		}
		row = h
		panels = append(panels, p.json(i+1, x, y, w, h))
		x += w
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(map[string]any{
		"uid": "marketprism-" + b.UID, "title": "MarketPrism / " + b.Title, "tags": []string{"marketprism"},
		"schemaVersion": 41, "editable": false, "graphTooltip": 1, "refresh": "10s", "timezone": "utc",
		"time":        map[string]any{"from": "now-1h", "to": "now"},
		"templating":  map[string]any{"list": variables()},
		"annotations": map[string]any{"list": annotations()},
		"links": []any{map[string]any{"type": "dashboards", "title": "MarketPrism", "tags": []string{"marketprism"}, "asDropdown": true,
			"includeVars": true, "keepTime": true, "icon": "external link", "targetBlank": false, "tooltip": "", "url": ""}},
		"panels": panels,
	})
	if err != nil {
		panic(err) // of maps of strings and numbers
	}
	return out.Bytes()
}

func source(kind string) map[string]any {
	if kind == "logs" {
		return map[string]any{"type": "loki", "uid": "${loki}"}
	}
	return map[string]any{"type": "prometheus", "uid": "${datasource}"}
}

func (p *Panel) json(id, x, y, w, h int) map[string]any {
	var targets []any
	for i, q := range p.Queries {
		t := map[string]any{"refId": string(rune('A' + i)), "datasource": source(p.Kind), "expr": q.Expr, "legendFormat": q.Legend}
		if p.Kind == "stat" || p.Kind == "table" {
			t["instant"] = true
		}
		if p.Kind == "table" || p.Kind == "heatmap" {
			t["format"] = p.Kind
		}
		targets = append(targets, t)
	}
	defaults := map[string]any{"unit": p.Unit}
	if steps := p.thresholds(); steps != nil {
		defaults["thresholds"] = map[string]any{"mode": "absolute", "steps": steps}
	}
	return map[string]any{
		"id": id, "type": p.Kind, "title": p.Title, "description": p.Help, "datasource": source(p.Kind),
		"gridPos": map[string]any{"x": x, "y": y, "w": w, "h": h}, "targets": targets,
		"fieldConfig": map[string]any{"defaults": defaults, "overrides": []any{}}, "options": map[string]any{},
	}
}

func (p *Panel) thresholds() []any {
	from, to := "red", "green"
	var at float64
	switch n, err := fmt.Sscanf(p.Good, "<%g", &at); {
	case p.Good == "":
		return nil
	case n == 1 && err == nil:
		from, to = "green", "red"
	default:
		if _, err := fmt.Sscanf(p.Good, "%g", &at); err != nil {
			panic(p.Good)
		}
	}
	return []any{map[string]any{"color": from, "value": nil}, map[string]any{"color": to, "value": at}}
}

// variables are those of every dashboard.
func variables() []any {
	query := func(name, label, text string) map[string]any {
		return map[string]any{"name": name, "label": label, "type": "query", "datasource": source(""), "query": text, "refresh": 2,
			"includeAll": true, "allValue": ".*", "multi": true, "sort": 1, "current": map[string]any{"text": "All", "value": "$__all"}}
	}
	return []any{
		map[string]any{"name": "datasource", "label": "Metrics", "type": "datasource", "query": "prometheus", "current": map[string]any{"text": "Prometheus", "value": "prometheus"}},
		map[string]any{"name": "loki", "label": "Logs", "type": "datasource", "query": "loki", "current": map[string]any{"text": "Loki", "value": "loki"}},
		query("job", "Job", "label_values(marketprism_build_info, job)"),
		query("instance", "Instance", `label_values(marketprism_build_info{job=~"$job"}, instance)`),
		query("exchange", "Exchange", "label_values(marketprism_collector_connection_status, exchange)"),
		query("market", "Market", `label_values(marketprism_collector_connection_status{exchange=~"$exchange"}, market)`),
	}
}

func annotations() []any {
	mark := func(name, expr, title, colour string) map[string]any {
		return map[string]any{"name": name, "datasource": source(""), "enable": true, "iconColor": colour, "expr": expr, "titleFormat": title, "step": "15s"}
	}
	return []any{
		mark("Alerts", `ALERTS{alertstate="firing",alertname!="Watchdog"}`, "{{alertname}}", "red"),
		mark("Restarts", `changes(process_start_time_seconds{job=~"$job"}[1m]) > 0`, "restart of {{instance}}", "blue"),
	}
}
