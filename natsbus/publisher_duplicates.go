package natsbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/orderbook"
)

// compareDue reports whether the time has come to compare a record that a stream had already, and begins the next wait.
func (p *Publisher) compareDue() bool {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	due := p.cfg.CompareEvery >= 0 && now.Sub(p.compared) >= p.cfg.CompareEvery
	if due {
		p.compared = now
	}
	return due
}

// compareDuplicate compares a record that the stream had already, and that is encoded in body, with the message at the
// sequence of its stream. It asks on a goroutine of its own, for AckTimeout at most: publishing does not wait.
func (p *Publisher) compareDuplicate(r *marketprism.Record, sequence uint64, body []byte) {
	p.mu.Lock()
	stream := p.countsOf(r).Stream
	p.mu.Unlock()
	subject, body := p.subject(r), bytes.Clone(body)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), p.cfg.AckTimeout)
		defer cancel()
		stored, err := letter.FromLeader(ctx, p.JS, stream, sequence, "")
		if err != nil {
			return // the message is gone, the server away, or reading not allowed
		}
		err = compareStored(subject, body, stored.Subject, stored.Data)
		p.mu.Lock()
		if p.stats.Compared++; err != nil {
			p.stats.Suppressed++
		}
		p.mu.Unlock()
		if err != nil {
			hook.Call(p.cfg.Hooks.Suppressed, UndecodableInfo{
				Stream: stream, Sequence: sequence, Subject: stored.Subject, Err: &CodecError{Op: opDecode, Kind: "suppressed", Err: err},
			})
		}
	}()
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
