package natsbus

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
	"github.com/marketprism/marketprism/orderbook"
)

// compareDuplicate compares a record that the stream had already, and that is encoded in body, with the message at the
// sequence of its stream, unless that was done a short time ago. It asks on a goroutine of its own, for AckTimeout at most:
// publishing does not wait.
func (p *Publisher) compareDuplicate(r *marketprism.Record, sequence uint64, body []byte) {
	now := time.Now()
	p.mu.Lock()
	due := p.cfg.CompareEvery >= 0 && now.Sub(p.compared) >= p.cfg.CompareEvery
	if due {
		p.compared = now
	}
	stream := p.countsOf(r).Stream
	p.mu.Unlock()
	if !due {
		return
	}
	subject, body := p.subject(r), bytes.Clone(body)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), p.cfg.AckTimeout)
		defer cancel()
		storedSubject, stored, err := p.stored(ctx, stream, sequence)
		if err != nil {
			return // the message is gone, the server away, or reading not allowed
		}
		err = compareStored(subject, body, storedSubject, stored)
		p.mu.Lock()
		if p.stats.Compared++; err != nil {
			p.stats.Suppressed++
		}
		p.mu.Unlock()
		if err != nil {
			hook.Call(p.cfg.Hooks.Suppressed, UndecodableInfo{
				Stream: stream, Sequence: sequence, Subject: storedSubject, Err: &CodecError{Op: opDecode, Kind: "suppressed", Err: err},
			})
		}
	}()
}

// stored returns the subject and the body of a message of a stream.
func (p *Publisher) stored(ctx context.Context, stream string, sequence uint64) (subject string, body []byte, err error) {
	msg, err := p.conn.RequestWithContext(ctx, pull.APIPrefix(p.js.Options())+"STREAM.MSG.GET."+stream, fmt.Appendf(nil, `{"seq":%d}`, sequence))
	if err != nil {
		return "", nil, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string `json:"subject"`
			Data    string `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return "", nil, err
	}
	if answer.Error != nil {
		return "", nil, answer.Error
	}
	body, err = base64.StdEncoding.DecodeString(answer.Message.Data)
	return answer.Message.Subject, body, err
}

// compareStored returns an error if a stored message is not a copy of a record, in what is the same for all collectors.
func compareStored(subject string, body []byte, storedSubject string, stored []byte) error {
	if subject != storedSubject {
		return fmt.Errorf("the record's subject is %s", subject)
	}
	var ours, theirs marketprism.Record
	if err := DecodeRecord(body, &ours); err != nil {
		return nil // a record of the program, which was published: never
	}
	if err := DecodeRecord(stored, &theirs); err != nil {
		return err
	}
	if ours.Key() != theirs.Key() || !sameContent(&ours, &theirs) {
		return errors.New("the record has other content")
	}
	return nil
}

// sameContent reports whether two records of one key say the same. A Gap has nothing beside its key.
func sameContent(a, b *marketprism.Record) bool {
	levels := func(bids, asks, otherBids, otherAsks []orderbook.Level) bool {
		return slices.Equal(bids, otherBids) && slices.Equal(asks, otherAsks)
	}
	switch {
	case a.Update != nil:
		return levels(a.Update.Bids, a.Update.Asks, b.Update.Bids, b.Update.Asks)
	case a.Snapshot != nil:
		return levels(a.Snapshot.Bids, a.Snapshot.Asks, b.Snapshot.Bids, b.Snapshot.Asks)
	case a.Trade != nil:
		return a.Trade.Price == b.Trade.Price && a.Trade.Quantity == b.Trade.Quantity && a.Trade.BuyerMaker == b.Trade.BuyerMaker
	case a.Ticker != nil:
		return a.Ticker.Bid == b.Ticker.Bid && a.Ticker.Ask == b.Ticker.Ask
	}
	return true
}
