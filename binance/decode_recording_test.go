package binance

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/shopspring/decimal"

	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

const recordings = "../../shared/recordings"

// A recorded line is one frame or one REST answer, verbatim.
type recorded struct {
	Kind  string
	Frame json.RawMessage
	Body  json.RawMessage
}

func readRecording(tb testing.TB, name string) []recorded {
	tb.Helper()
	file, err := os.Open(filepath.Join(recordings, name))
	if os.IsNotExist(err) {
		tb.Skipf("no recordings of the exchange in %s", recordings)
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		tb.Fatal(err)
	}
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 8<<20)
	var out []recorded
	for lines.Scan() {
		var line recorded
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			tb.Fatal(err)
		}
		out = append(out, line)
	}
	if lines.Err() != nil {
		tb.Fatal(lines.Err())
	}
	return out
}

type jsonLevels [][2]decimal.Decimal

// jsonEvent has the fields of every recorded event. The tags are exact: encoding/json would take E
// for e otherwise.
type jsonEvent struct {
	Event string          `json:"e"`
	Time  int64           `json:"E"`
	Done  int64           `json:"T"`
	Name  string          `json:"s"`
	First int64           `json:"U"`
	Last  int64           `json:"u"`
	Prev  int64           `json:"pu"`
	A     json.RawMessage `json:"a"`
	AQ    json.RawMessage `json:"A"`
	B     json.RawMessage `json:"b"`
	BQ    json.RawMessage `json:"B"`
	Price decimal.Decimal `json:"p"`
	Qty   decimal.Decimal `json:"q"`
	Trade int64           `json:"t"`
	FID   int64           `json:"f"`
	LID   int64           `json:"l"`
	Maker bool            `json:"m"`
	Best  bool            `json:"M"`
}

// The Decoder and encoding/json with shopspring/decimal decode real traffic to the same values.
func TestDecodeRecordings(t *testing.T) {
	short.SkipWhole(t)
	for name, kinds := range map[string][]MessageType{
		"binance-spot-20211012.ndjson.gz": {MessageDepth, MessageTicker, MessageTrade, MessageUnknown},
		"binance-usdm-20210722.ndjson.gz": {MessageDepth, MessageTicker, MessageTrade, MessageUnknown},
		"binance-usdm-20240808.ndjson.gz": {MessageDepth, MessageTicker, MessageTrade},
	} {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			var m Message
			counts := map[MessageType]int{}
			for _, line := range readRecording(t, name) {
				if line.Kind == "rest" {
					compareSnapshot(t, &d, line.Body)
					continue
				}
				if err := d.Decode(line.Frame, &m); err != nil {
					t.Fatal(err)
				}
				counts[m.Type]++
				compareFrame(t, line.Frame, &m)
			}
			t.Log(counts)
			for _, kind := range kinds {
				if counts[kind] == 0 {
					t.Errorf("no event of type %v came: %v", kind, counts)
				}
			}
		})
	}
}

func compareFrame(t *testing.T, frame []byte, m *Message) {
	t.Helper()
	var outer struct {
		Stream string
		Data   jsonEvent
	}
	if err := json.Unmarshal(frame, &outer); err != nil {
		t.Fatal(err)
	}
	e := &outer.Data
	same := m.Stream == outer.Stream
	if m.Type != MessageUnknown {
		same = same && m.Symbol == e.Name && (e.Time == 0 && m.EventTime.IsZero() || m.EventTime.Equal(millis(e.Time)))
	}
	switch m.Type {
	case MessageDepth:
		u := &m.Update
		same = same && e.Event == "depthUpdate" && u.FirstID == e.First && u.LastID == e.Last && u.PrevLastID == e.Prev &&
			equalLevels(t, u.Bids, e.B) && equalLevels(t, u.Asks, e.A)
	case MessageTicker:
		k := &m.Ticker
		same = same && (e.Event == "bookTicker" || e.Event == "") && k.UpdateID == e.Last &&
			equalNumber(t, k.Bid.Price, e.B) && equalNumber(t, k.Bid.Quantity, e.BQ) &&
			equalNumber(t, k.Ask.Price, e.A) && equalNumber(t, k.Ask.Quantity, e.AQ)
	case MessageTrade:
		r := &m.Trade
		id := e.Trade
		if r.Aggregate {
			if err := json.Unmarshal(e.A, &id); err != nil {
				t.Fatal(err)
			}
		}
		same = same && (e.Event == "aggTrade") == r.Aggregate && (e.Event == "trade") != r.Aggregate &&
			r.ID == id && r.FirstID == e.FID && r.LastID == e.LID &&
			r.Price.Decimal().Equal(e.Price) && r.Quantity.Decimal().Equal(e.Qty) &&
			r.BuyerMaker == e.Maker && r.BestMatch == e.Best && r.TradeTime.Equal(millis(e.Done))
	case MessageUnknown:
		same = same && e.Event == "kline"
	}
	if !same {
		t.Fatalf("%s\nis decoded as %+v", frame, *m)
	}
}

func compareSnapshot(t *testing.T, d *Decoder, body []byte) {
	t.Helper()
	var s orderbook.Snapshot
	if _, err := d.DecodeSnapshot(body, &s); err != nil {
		t.Fatal(err)
	}
	var want struct {
		LastUpdateID int64           `json:"lastUpdateId"`
		Time         int64           `json:"E"`
		Bids         json.RawMessage `json:"bids"`
		Asks         json.RawMessage `json:"asks"`
	}
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatal(err)
	}
	if s.LastID != want.LastUpdateID || !equalLevels(t, s.Bids, want.Bids) || !equalLevels(t, s.Asks, want.Asks) ||
		want.Time != 0 && !s.EventTime.Equal(millis(want.Time)) {
		t.Fatalf("snapshot at %d is decoded as one at %d with %d bids and %d asks", want.LastUpdateID, s.LastID, len(s.Bids), len(s.Asks))
	}
}

func equalLevels(t *testing.T, got []orderbook.Level, raw json.RawMessage) bool {
	t.Helper()
	var want jsonLevels
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		return false
	}
	for i, l := range got {
		if !l.Price.Decimal().Equal(want[i][0]) || !l.Quantity.Decimal().Equal(want[i][1]) {
			return false
		}
	}
	return true
}

func equalNumber(t *testing.T, got orderbook.Fixed, raw json.RawMessage) bool {
	t.Helper()
	var want decimal.Decimal
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	return got.Decimal().Equal(want)
}
