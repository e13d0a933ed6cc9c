package natsbus

import (
	"context"
	"log/slog"

	"github.com/marketprism/marketprism/internal/hook"
)

// TeeHooks returns Hooks that call each of hooks, in order. Nil ones are left out.
func TeeHooks(hooks ...*Hooks) *Hooks {
	var all Hooks
	for _, h := range hooks {
		if h == nil {
			continue
		}
		all.Published = hook.Join(all.Published, h.Published)
		all.Retrying = hook.Join(all.Retrying, h.Retrying)
		all.Overtaken = hook.Join(all.Overtaken, h.Overtaken)
		all.Acked = hook.Join(all.Acked, h.Acked)
		all.Delivered = hook.Join(all.Delivered, h.Delivered)
		all.Handled = hook.Join(all.Handled, h.Handled)
		all.Consumed = hook.Join(all.Consumed, h.Consumed)
		all.SinkFailed = hook.Join(all.SinkFailed, h.SinkFailed)
		all.Circuit = hook.Join(all.Circuit, h.Circuit)
		all.Refused = hook.Join(all.Refused, h.Refused)
		all.ServerFailed = hook.Join(all.ServerFailed, h.ServerFailed)
		all.Realigned = hook.Join(all.Realigned, h.Realigned)
		all.Undecodable = hook.Join(all.Undecodable, h.Undecodable)
		all.DeadLettered = hook.Join(all.DeadLettered, h.DeadLettered)
		all.Released = hook.Join(all.Released, h.Released)
	}
	return &all
}

// LogHooks returns Hooks that log: batches at debug level, what is waited out at info or warn, and a
// message that is no record at error. The log handler must not block.
func LogHooks(l *slog.Logger) *Hooks {
	return &Hooks{
		Published: func(i PublishInfo) {
			l.Debug("published", "records", i.Records, "duplicates", i.Duplicates, "elapsed", i.Elapsed)
		},
		Retrying: func(i RetryInfo) {
			l.Warn("publishing is held up", "subject", i.Subject, "key", i.Key, "attempt", i.Attempt, "wait", i.Wait, "err", i.Err)
		},
		Overtaken: func(i OvertakenInfo) {
			l.Warn("stored out of order", "subject", i.Subject, "key", i.Key, "sequence", i.Sequence, "records", i.Records)
		},
		Acked: func(i AckInfo) {
			if !l.Enabled(context.Background(), slog.LevelDebug) {
				return // the arguments would cost more than the rest, for every message
			}
			l.Debug("confirmed", "stream", i.Stream, "sequence", i.Sequence, "duplicate", i.Duplicate, "took", i.Took)
		},
		Delivered: func(i DeliveryInfo) {
			if !l.Enabled(context.Background(), slog.LevelDebug) {
				return
			}
			l.Debug("delivered", "stream", i.Stream, "durable", i.Durable, "sequence", i.Sequence, "deliveries", i.Deliveries,
				"pending", i.Pending, "lag", i.Lag)
		},
		Handled: func(i HandleInfo) {
			l.Debug("handled", "stream", i.Stream, "durable", i.Durable, "records", i.Records, "took", i.Took, "err", i.Err)
		},
		Consumed: func(i ConsumeInfo) {
			l.Debug("consumed", "stream", i.Stream, "records", i.Records, "first", i.First, "last", i.Last,
				"redelivered", i.Redelivered, "behind", i.Behind, "elapsed", i.Elapsed)
		},
		SinkFailed: func(i SinkFailedInfo) {
			l.Warn("sink fails", "stream", i.Stream, "records", i.Records, "first", i.First, "last", i.Last, "attempt", i.Attempt, "wait", i.Wait, "err", i.Err)
		},
		Circuit: func(i CircuitInfo) {
			l.Info("circuit to the sink", "state", i.State, "since", i.Since, "err", i.Err)
		},
		Refused: func(i RefusedInfo) {
			l.Warn("sink will never take a record", "stream", i.Stream, "records", i.Records, "first", i.First, "last", i.Last,
				"key", i.Key, "attempt", i.Attempt, "err", i.Err)
		},
		ServerFailed: func(i ServerFailedInfo) {
			l.Warn("server does not answer", "attempt", i.Attempt, "wait", i.Wait, "err", i.Err)
		},
		Realigned: func(i RealignInfo) {
			l.Info("reading from", "sequence", i.From, "source", i.Source, "err", i.Err)
		},
		Undecodable: func(i UndecodableInfo) {
			l.Error("message is no record", "stream", i.Stream, "sequence", i.Sequence, "subject", i.Subject, "err", i.Err)
		},
		DeadLettered: func(i DeadLetterInfo) {
			l.Error("moved to the dead letters", "stream", i.Stream, "sequence", i.Sequence, "subject", i.Subject,
				"key", i.Key, "reason", i.Reason, "redrives", i.Redrives, "bodiless", i.Bodiless, "err", i.Err)
		},
		Released: func(i ReleaseInfo) {
			l.Warn("handed back", "stream", i.Stream, "records", i.Records, "first", i.First, "last", i.Last)
		},
	}
}
