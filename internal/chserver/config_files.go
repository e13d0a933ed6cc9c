package chserver

import (
	"bytes"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"strings"
	"text/template"
)

// usersXML says who gets in.
//
// clickhouse-local runs the statements of its command line as the user default without a password, from the address
// 127.0.0.1, whatever the configuration (LocalConnection and Session::authenticate in ClickHouse's source). So that user
// has to be there, and may have one session, which lasts as long as the server: no connection gets another one. What its
// quota and its grants allow is used up by those statements.
const usersXML = `<clickhouse>
    <profiles>
        <default></default>
        <start><max_sessions_for_user>1</max_sessions_for_user></start>
        <reader><readonly>2</readonly></reader>
    </profiles>
    <quotas>
        <default></default>
        <start><interval><duration>2000000000</duration><queries>{{statements .}}</queries></interval></start>
    </quotas>
    <users>
        <default>
            <password></password>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>start</profile>
            <quota>start</quota>
            <grants>
                <query>GRANT SYSTEM LISTEN, CREATE TEMPORARY TABLE, FILE ON *.*</query>
            </grants>
        </default>
        <` + User + `>
            <password_sha256_hex>{{hash .Password}}</password_sha256_hex>
            <networks><ip>127.0.0.0/8</ip><ip>::1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants>
                <query>GRANT ` + privileges + ` ON *.*</query>
                {{- range engines}}
                <query>GRANT TABLE ENGINE ON {{.}}</query>
                {{- end}}
                {{- range .Grants}}
                <query>GRANT {{.}}</query>
                {{- end}}
            </grants>
        </` + User + `>
        {{- range .Readers}}
        <{{.Name}}>
            <password_sha256_hex>{{printf "%x" .PasswordSHA256}}</password_sha256_hex>
            <networks><ip>::/0</ip></networks>
            <profile>reader</profile>
            <quota>default</quota>
            <grants>
                <query>GRANT SHOW, SELECT ON {{.Database}}.*</query>
            </grants>
        </{{.Name}}>
        {{- end}}
    </users>
</clickhouse>
`

// privileges are what a store does. The sources, such as FILE, URL and REMOTE, are not among them, nor are SYSTEM,
// dictionaries and functions. Table functions that make up their rows want CREATE TEMPORARY TABLE.
const privileges = "SHOW, SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE TEMPORARY TABLE, DROP DATABASE, DROP TABLE, DROP VIEW, " +
	"UNDROP TABLE, TRUNCATE, OPTIMIZE, CHECK, KILL QUERY"

// tableEngines are those that keep their rows in the server's own folder.
func tableEngines() []string {
	return []string{"MergeTree", "ReplacingMergeTree", "SummingMergeTree", "AggregatingMergeTree", "Memory", "Null"}
}

// xml renders the server's configuration file. Dir must be filled in.
func (c Config) xml() ([]byte, error) { return c.render(serverXML) }

// users renders the file of the server's users.
func (c Config) users() ([]byte, error) { return c.render(usersXML) }

func (c Config) render(text string) ([]byte, error) {
	escape := func(s string) (string, error) {
		var b strings.Builder
		err := xml.EscapeText(&b, []byte(s))
		return b.String(), err
	}
	hash := func(password string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(password))) }
	t, err := template.New("xml").Funcs(template.FuncMap{"text": escape, "hash": hash, "engines": tableEngines, "statements": func(c Config) int { return len(c.statements()) }}).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("chserver: configuration template: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, c); err != nil {
		return nil, fmt.Errorf("chserver: rendering the configuration: %w", err)
	}
	return b.Bytes(), nil
}

// readyFD is the descriptor of the server process for the line with the ports.
const readyFD = 3

// statements make the server listen, and then write its ports, 0 for none, to readyFD.
func (c Config) statements() []string {
	all, httpPort := []string{"SYSTEM START LISTEN TCP"}, "0"
	if c.HTTPPort != 0 {
		all, httpPort = append(all, "SYSTEM START LISTEN HTTP"), "getServerPort('http_port')"
	}
	return append(all, fmt.Sprintf("INSERT INTO FUNCTION file('/dev/fd/%d', 'TSV', 'tcp UInt16, http UInt16') SELECT getServerPort('tcp_port'), %s", readyFD, httpPort))
}
