package chserver

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"text/template"
)

// serverXML is the configuration file. The pools' sizes depend on one another: ClickHouse refuses
// to start when the two number_of_free_entries settings exceed the pool, so they are set with it.
const serverXML = `<clickhouse>
    <logger><console>1</console></logger>
    {{- if gt .MemoryBytes 0}}
    <max_server_memory_usage>{{.MemoryBytes}}</max_server_memory_usage>
    {{- end}}
    <mark_cache_size>134217728</mark_cache_size>
    <primary_index_cache_size>134217728</primary_index_cache_size>
    {{- if gt .BackgroundThreads 0}}
    <background_pool_size>{{.BackgroundThreads}}</background_pool_size>
    <background_merges_mutations_concurrency_ratio>2</background_merges_mutations_concurrency_ratio>
    <background_move_pool_size>{{.BackgroundThreads}}</background_move_pool_size>
    <background_fetches_pool_size>{{.BackgroundThreads}}</background_fetches_pool_size>
    <background_common_pool_size>{{.BackgroundThreads}}</background_common_pool_size>
    <background_schedule_pool_size>{{.BackgroundThreads}}</background_schedule_pool_size>
    {{- end}}
    {{- range $name, $value := .Settings}}
    <{{$name}}>{{text $value}}</{{$name}}>
    {{- end}}
    {{- if .Sections}}
    {{.Sections}}
    {{- end}}
    <storage_configuration>
        <disks>
            <cold><path>{{text .Dir}}/cold/</path></cold>
        </disks>
        <policies>
            <` + TieredPolicy + `>
                <volumes>
                    <default><disk>default</disk></default>
                    <cold><disk>cold</disk></cold>
                </volumes>
                <move_factor>0</move_factor>
            </` + TieredPolicy + `>
        </policies>
    </storage_configuration>
    <merge_tree>
        {{- if gt .BackgroundThreads 0}}
        <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
        <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
        <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
        {{- end}}
        {{- range $name, $value := .MergeTree}}
        <{{$name}}>{{text $value}}</{{$name}}>
        {{- end}}
    </merge_tree>
</clickhouse>
`

// xml renders the server's configuration file. Dir must be filled in.
func (c Config) xml() ([]byte, error) {
	escape := func(s string) (string, error) {
		var b strings.Builder
		err := xml.EscapeText(&b, []byte(s))
		return b.String(), err
	}
	t, err := template.New("config.xml").Funcs(template.FuncMap{"text": escape}).Parse(serverXML)
	if err != nil {
		return nil, fmt.Errorf("chserver: configuration template: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, c); err != nil {
		return nil, fmt.Errorf("chserver: rendering the configuration: %w", err)
	}
	return b.Bytes(), nil
}
