package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
)

// poison is what the message behind each tenth record is: "" for no message, "undecodable" for no record, "refused" for a
// record that the store refuses.
type poison string

// publishPoisoned fills the stream of books with n records of some instruments and the poison among them, and returns the
// number of messages.
func publishPoisoned(t *testing.T, js jetstream.JetStream, n int, kind poison) (messages int) {
	t.Helper()
	at := time.Now().Add(-time.Minute).Truncate(time.Hour).UTC() // all in one partition
	record := func(id int) marketprism.Record {
		u := &orderbook.Update{FirstID: int64(id), LastID: int64(id), EventTime: at.Add(time.Duration(id) * time.Microsecond)}
		for k := range 10 {
			u.Bids = append(u.Bids, orderbook.Level{Price: orderbook.Fixed(1000-k) * orderbook.One, Quantity: orderbook.Fixed(id) * orderbook.One})
		}
		i := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: fmt.Sprintf("S%dUSDT", id%7)}
		return marketprism.Record{Instrument: i, EventTime: u.EventTime, Update: u}
	}
	send := func(r marketprism.Record, body []byte) {
		_, err := js.PublishMsgAsync(&nats.Msg{Subject: natsbus.Subject("", r.Instrument, r.Kind()), Data: body}, jetstream.WithStallWait(patience))
		require.NoError(t, err)
		messages++
	}
	encoded := func(r marketprism.Record) []byte {
		body, err := natsbus.AppendRecord(nil, &r)
		require.NoError(t, err)
		return body
	}
	for id := range n {
		r := record(id + 1)
		send(r, encoded(r))
		if id%10 != 9 {
			continue
		}
		switch kind {
		case "undecodable":
			send(r, []byte("garbage"))
		case "refused":
			r = record(n + id)
			r.Update.TransactTime = time.Unix(-1, 0).UTC() // before 1970
			send(r, encoded(r))
		}
	}
	<-js.PublishAsyncComplete()
	return messages
}

// archivePoisoned writes a stream of books to a store in three batches, and returns how many messages became dead letters.
func archivePoisoned(t *testing.T, store *chstore.Store, n int, kind poison) (letters uint64) {
	t.Helper()
	js := newBus(t)
	messages := publishPoisoned(t, js, n, kind)
	require.Zero(t, messages%3)
	consumer, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{
		Stream: natsbus.BooksStream(""), Durable: "archiver", DeadLetters: true, Batch: messages / 3, FlushEvery: time.Minute,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- consumer.Run(ctx, store) }()
	require.Eventually(t, func() bool {
		s := consumer.Stats()
		return s.Records+s.DeadLettered == uint64(messages) || len(done) > 0
	}, patience, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	return consumer.Stats().DeadLettered
}

// With a message in eleven that is no record, or that the store refuses, an archive takes as many INSERTs as without.
func TestPoisonCostsNoInsert(t *testing.T) {
	short.Skip(t)
	const n = 3000
	db := chtest.Open(t)
	conn, err := chstore.NewConn(db.Options())
	require.NoError(t, err)
	defer conn.Close()
	inserts, rows := 0, 0
	store, err := chstore.New(conn, chstore.Config{Database: db.Name, Hooks: &chstore.Hooks{Inserted: func(i chstore.InsertInfo) {
		inserts++
		rows += i.Rows
	}}})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	for _, kind := range []poison{"", "undecodable", "refused"} {
		inserts, rows = 0, 0
		letters := archivePoisoned(t, store, n, kind)
		require.Equal(t, 3, inserts, kind)
		require.Equal(t, n, rows, kind)
		if kind != "" {
			require.EqualValues(t, n/10, letters, kind)
		}
	}
}
