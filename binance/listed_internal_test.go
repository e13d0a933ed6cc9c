package binance

import "testing"

// A symbol that the program removes while AllTrading does is none the worse, and keeps nobody from going on.
func TestDropOfASymbolThatIsGone(t *testing.T) {
	c, err := NewClient(Config{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDepthSyncer(c, DepthConfig{AllTrading: &SymbolFilter{}})
	if err != nil {
		t.Fatal(err)
	}
	on := ExchangeInfo{Symbols: []SymbolInfo{{Symbol: "OLD", Status: "TRADING"}, {Symbol: "OLDER", Status: "TRADING"}}}
	if err := d.heed(&on); err != nil {
		t.Fatal(err)
	}
	_, removed := d.drift(&ExchangeInfo{})
	if err := d.Remove("OLD"); err != nil { // between the two steps of heed
		t.Fatal(err)
	}
	d.drop(removed)
	if left := d.books.Keys(); len(removed) != 2 || len(left) != 0 {
		t.Errorf("%v were to go, %v are left", removed, left)
	}
}
