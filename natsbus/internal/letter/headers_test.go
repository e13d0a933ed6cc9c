package letter

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A message with any headers becomes a letter whose origin is read back, which has the headers of the message, and whose
// re-drive and second letter have its origin too.
func FuzzHeaders(f *testing.F) {
	f.Add([]byte("NATS/1.0\r\nNats-Msg-Id: a\r\n\r\n"), "md.binance.spot.depth.BTCUSDT", uint64(1))
	f.Add([]byte("NATS/1.0\r\nNats-Rollup: all\r\nnats-expected-stream: X\r\nTraceparent: 00-1\r\n\r\n"), "a.b", uint64(7))
	f.Add([]byte("NATS/1.0 503 No Responders\r\n\r\n"), "x", uint64(1))
	for name := range New(Origin{Stream: "S", Source: "s", Consumer: "c", Subject: "a", Sequence: 1}, nil, nil, Cause{Err: errors.New("x")}).Header {
		f.Add([]byte("NATS/1.0\r\n"+name+": -1\r\n"+originalPrefix+name+": 2\r\n\r\n"), "a", uint64(3))
	}
	f.Fuzz(func(t *testing.T, text []byte, subject string, sequence uint64) {
		header, err := nats.DecodeHeadersMsg(text)
		if err != nil {
			return
		}
		_, _ = ParseOrigin(header)
		_ = OriginalHeader(header)
		if !isSubject(subject) || sequence == 0 {
			return
		}
		o := Origin{
			Stream: "MD_DEPTH", Source: "MD_DEPTH@1", Consumer: "archiver", Subject: subject, Sequence: sequence, StoredAt: time.Unix(1_700_000_000, 5).UTC(),
		}
		first := New(o, header, []byte("body"), Cause{Reason: "decode", Err: errors.New(string(text))})
		read, ok := ParseOrigin(first.Header)
		read.FailedAt = time.Time{}
		if !ok || read != o {
			t.Fatalf("%t %+v, want %+v", ok, read, o)
		}
		kept := OriginalHeader(first.Header)
		for name, values := range header {
			if reserved(name) {
				continue // it may collide with one that has the prefix
			}
			if got := kept[name]; len(got) != len(values) {
				t.Fatalf("%s: %q, want %q", name, got, values)
			}
		}
		if id := header.Get(jetstream.MsgIDHeader); id != "" && kept.Get(jetstream.MsgIDHeader) != id && len(header) == 1 {
			t.Fatalf("id %q, want %q", kept.Get(jetstream.MsgIDHeader), id)
		}
		again := Redrive(o, maps.Clone(first.Header), first.Data, 1, o.StoredAt)
		second, ok := ParseOrigin(again.Header)
		second.FailedAt, second.Redrives = time.Time{}, 0
		if !ok || second != o {
			t.Fatalf("re-driven: %t %+v, want %+v", ok, second, o)
		}
	})
}
