package natsbus

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// StreamStats is what a stream holds at present. For the stream of dead letters, Messages is how many
// there are and Oldest when the oldest became one.
type StreamStats struct {
	Messages uint64
	Bytes    uint64
	MaxBytes int64 // -1 means no limit

	First, Last    uint64    // sequences; First is Last+1 in an empty stream
	Oldest, Newest time.Time // when the server stored them, by its clock; zero if there are none
}

// ReadStreamStats asks the server what a stream holds, without reading any message. The error is a
// *StreamError.
func ReadStreamStats(ctx context.Context, js jetstream.StreamManager, stream string) (StreamStats, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return StreamStats{}, streamError(stream, "look up", err)
	}
	info := s.CachedInfo() // it has just come
	stats := StreamStats{
		Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes,
		First: info.State.FirstSeq, Last: info.State.LastSeq,
	}
	if stats.Messages > 0 {
		stats.Oldest, stats.Newest = info.State.FirstTime, info.State.LastTime
	}
	return stats, nil
}
