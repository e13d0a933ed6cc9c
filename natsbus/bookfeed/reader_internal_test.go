package bookfeed

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// A message behind the snapshot that a book begins with is needed whatever its time: after a change of the stream's leader
// it may be older than those before it, by a clock that is behind.
func TestReadingNeedsWhatIsBehindItsSnapshot(t *testing.T) {
	snapshotAt := time.Unix(1_780_000_000, 0)
	info := &jetstream.StreamInfo{State: jetstream.StreamState{FirstSeq: 1, LastSeq: 120}, TimeStamp: snapshotAt.Add(time.Minute)}
	joining := place{snapshot: 100, update: 120, last: 120, snapshotAt: snapshotAt}
	joining.resume(info, time.Second)
	waiting := place{update: 120, last: 120} // for its first snapshot
	waiting.resume(info, time.Second)
	for name, test := range map[string]struct {
		place    place
		kind     marketprism.Kind
		sequence uint64
		age      time.Duration // before the snapshot's time
		needs    bool
	}{
		"update long before the snapshot": {joining, marketprism.KindUpdate, 90, 2 * time.Second, false},
		"update just before the snapshot": {joining, marketprism.KindUpdate, 99, time.Millisecond, true},
		"snapshot before the snapshot":    {joining, marketprism.KindSnapshot, 99, time.Millisecond, false},
		"the snapshot":                    {joining, marketprism.KindSnapshot, 100, 0, true},
		"update with a later time":        {joining, marketprism.KindUpdate, 101, -time.Second, true},
		"update by a clock behind":        {joining, marketprism.KindUpdate, 101, time.Hour, true},
		"gap by a clock behind":           {joining, marketprism.KindGap, 102, time.Hour, true},
		"new update without a snapshot":   {waiting, marketprism.KindUpdate, 121, time.Hour, true},
		"new snapshot":                    {waiting, marketprism.KindSnapshot, 121, time.Hour, true},
		"old update without a snapshot":   {waiting, marketprism.KindUpdate, 119, 0, false},
	} {
		d := pull.Delivery{Meta: jetstream.MsgMetadata{Timestamp: snapshotAt.Add(-test.age)}}
		d.Meta.Sequence.Stream = test.sequence
		require.Equal(t, test.needs, test.place.needs(test.kind, d), name)
	}
}
