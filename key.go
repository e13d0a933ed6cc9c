package marketprism

import "strconv"

// Key identifies what the record tells by the exchange's own ids alone, never by the collector that
// saw it or by when it arrived. Two collectors that see the same event give the same key, so a bus
// and a store can drop the second. The form is exchange:market:kind:symbol:identity, where identity is
//
//	depth     FirstID-LastID
//	snap      LastID:BIDSxASKS, the numbers of levels, since a deeper snapshot of one id tells more
//	gap       After-reason
//	trade     trade id
//	aggtrade  aggregate id
//	bbo       update id
//
// A book that is quiet while its connection is lost twice ends twice in the same Gap, and begins twice with
// the same Snapshot. Of those two kinds nobody may drop a second one for its key alone.
//
// Two connections may cut the same changes into updates at different borders; those have different
// keys, and readers drop the overlap by update id.
func (r *Record) Key() string {
	var buf [96]byte
	return string(r.AppendKey(buf[:0]))
}

// AppendKey appends Key to b. It allocates nothing where b has room.
func (r *Record) AppendKey(b []byte) []byte {
	b = append(b, r.Instrument.Exchange...)
	b = append(b, ':')
	b = append(b, r.Instrument.Market...)
	b = append(b, ':')
	b = append(b, r.Kind().String()...)
	b = append(b, ':')
	b = append(b, r.Instrument.Symbol...)
	b = append(b, ':')
	switch r.Kind() {
	case KindUpdate:
		b = strconv.AppendInt(b, r.Update.FirstID, 10)
		b = append(b, '-')
		b = strconv.AppendInt(b, r.Update.LastID, 10)
	case KindSnapshot:
		b = strconv.AppendInt(b, r.Snapshot.LastID, 10)
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(len(r.Snapshot.Bids)), 10)
		b = append(b, 'x')
		b = strconv.AppendInt(b, int64(len(r.Snapshot.Asks)), 10)
	case KindGap:
		b = strconv.AppendInt(b, r.Gap.After, 10)
		b = append(b, '-')
		b = append(b, r.Gap.Reason.String()...)
	case KindTrade, KindAggTrade:
		b = strconv.AppendInt(b, r.Trade.ID, 10)
	case KindTicker:
		b = strconv.AppendInt(b, r.Ticker.UpdateID, 10)
	}
	return b
}
