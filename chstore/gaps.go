package chstore

import (
	"context"
	"iter"

	"github.com/marketprism/marketprism"
)

// Gaps returns the Gap records that q selects, in the order of their time: what collectors knew to have
// missed. Its Kinds are not looked at. Check finds what they did not know.
func (s *Store) Gaps(ctx context.Context, q Query) iter.Seq2[marketprism.Record, error] {
	q.Kinds = []marketprism.Kind{marketprism.KindGap}
	return s.Records(ctx, q)
}
