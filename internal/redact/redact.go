// Package redact shows the addresses of servers without their secrets.
package redact

import (
	"regexp"
	"slices"
	"strings"
)

// hidden replaces an address that cannot be taken apart for sure.
const hidden = "(hidden)"

// hosts is what follows user and password: hosts, each with its port, and a path. A word without a port and without a
// scheme is none, since it may be a token.
var hosts = regexp.MustCompile(`^(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(,(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?)*(/[A-Za-z0-9._/-]*)?$`)

var hostPort = regexp.MustCompile(`:[0-9]{1,5}(/|$)`)

// Addresses returns a list of addresses of NATS, ClickHouse, an exchange or a proxy, separated by commas, with mask in place of
// each user, password and token, and of all options, since some are passwords. Without a mask they are left out. A client is
// more tolerant than a parser of URLs: what is not clearly an address is masked as a whole.
func Addresses(list, mask string) string {
	parts := split(list)
	for i, part := range parts {
		parts[i] = address(strings.TrimSpace(part), mask)
	}
	return strings.Join(parts, ",")
}

func address(text, mask string) string {
	whole := mask
	if mask == "" {
		whole = hidden
	}
	scheme, rest, named := strings.Cut(text, "://")
	if !named {
		scheme, rest = "", text
	}
	word, _, _ := strings.Cut(text, ":")
	if text == "" || named && !isScheme(scheme) || !named && isScheme(word) { // the last is a slip: two slashes are missing
		return strings.Repeat(whole, min(len(text), 1))
	}
	shown := ""
	if named {
		shown = scheme + "://"
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		// A password with one of these could not be distinguished from a host, a path or an option with an @.
		if strings.ContainsAny(rest[:i], "/?#") {
			return whole
		}
		rest = rest[i+1:]
		if mask != "" {
			shown += mask + "@"
		}
	}
	rest, options, has := strings.Cut(rest, "?")
	if !hosts.MatchString(rest) || !named && !strings.Contains(text, "@") && !hostPort.MatchString(rest) {
		return whole
	}
	shown += rest
	if has && options != "" && mask != "" {
		shown += "?" + mask
	}
	return shown
}

func isScheme(text string) bool {
	return slices.Contains([]string{"nats", "tls", "ws", "wss", "clickhouse", "tcp", "http", "https", "socks5", "socks5h"}, strings.ToLower(text))
}

// split divides a list where an address with a scheme follows a comma: a password may contain a comma, too.
func split(list string) (parts []string) {
	for text := range strings.SplitSeq(list, ",") {
		if len(parts) > 0 && !strings.Contains(text, "://") {
			parts[len(parts)-1] += "," + text
			continue
		}
		parts = append(parts, text)
	}
	return parts
}
