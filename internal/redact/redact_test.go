package redact

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every form that nats.Connect and clickhouse.ParseDSN take, and slips of an operator.
func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"nats://h:4222":                          "nats://h:4222",
		"h:4222":                                 "h:4222",
		"nats://localhost":                       "nats://localhost",
		"nats://u:hush@h:4222":                   "nats://x@h:4222",
		"nats://hush@h:4222, tls://hush@[::1]:1": "nats://x@h:4222,tls://x@[::1]:1",
		"hush@h:4222":                            "x@h:4222",
		"u:hush@h:4222":                          "x@h:4222",
		"u:hush@h":                               "x@h",
		"nats://u:hu@sh@h:1":                     "nats://x@h:1",
		"nats://u:hu,sh@h:1":                     "nats://x@h:1",
		"nats://u:hu/sh@h:1":                     "x",
		"nats://hu#sh@h:1":                       "x",
		"nats://hu?sh@h:1":                       "x",
		"nats:u:hush":                            "x",
		"nats:hush":                              "x",
		"hush":                                   "x",
		"u:hush":                                 "x",
		"hush://u:hush@h:1":                      "x",
		"clickhouse://u:hush@h:9000,i:9000/db":   "clickhouse://x@h:9000,i:9000/db",
		"clickhouse://h:9000?password=hush":      "clickhouse://h:9000?x",
		"h:9000?username=u&password=hush":        "h:9000?x",
		"clickhouse://h:9000?password=hu@sh":     "x",
		"clickhouse://h:9000/db?password=hu,sh":  "clickhouse://h:9000/db?x",
		"socks5://u:hush@h:1":                    "socks5://x@h:1",
		"":                                       "",
	} {
		require.Equal(t, want, Addresses(address, "x"), address)
	}
	require.Equal(t, "nats://h:1,tls://i:2", Addresses("nats://u:hush@h:1,tls://hush@i:2", ""))
	require.Equal(t, "clickhouse://h:1", Addresses("clickhouse://u:hush@h:1?password=hush", ""))
	require.Equal(t, hidden, Addresses("nats:u:hush", ""))
}

// No part of a secret is shown, whatever is in it and wherever an address has it.
func FuzzAddresses(f *testing.F) {
	for _, between := range []string{"", ",", "@", "/", "?", "#", ":", "%zz", "\x00", " ", "@h:1/", "@h:1,", "://", "é", "&secure=true&", "\n"} {
		f.Add(between)
	}
	f.Fuzz(func(t *testing.T, between string) {
		if strings.Contains(between, "://") {
			t.Skip("a client takes it for a list of addresses")
		}
		secret := "hush1" + between + "hush2"
		for _, form := range []string{
			"nats://u:S@h:1", "nats://S@h:1", "S@h:1", "u:S@h", "tls://S@h:1,tls://S@i:2", "S@h:1,S@i:2", "nats://h:1,S@i:2", "nats:u:S", "nats:S",
			"clickhouse://u:S@h:1/db", "clickhouse://u:S@h:1,i:2?a=b", "clickhouse://h:1?password=S", "h:1?username=u&password=S", "clickhouse://u:S@h:1?password=S",
			"http://S:p@h:1", "socks5://u:S@h:1",
		} {
			address := strings.ReplaceAll(form, "S", secret)
			for _, mask := range []string{"", "xxxxx"} {
				if shown := Addresses(address, mask); strings.Contains(shown, "hush") {
					t.Errorf("%q is shown as %q", address, shown)
				}
			}
		}
	})
}
