package metrics

// A SymbolMode says which symbols have series of their own.
type SymbolMode uint8

// The modes.
const (
	AllSymbols    SymbolMode = iota // every one, as long as there are no more than Max
	ListedSymbols                   // those of List
	NoSymbols                       // none
)

// A SymbolPolicy bounds the series that symbols cause: four each, and five more for chosen ones.
type SymbolPolicy struct {
	Mode SymbolMode
	List []string // of ListedSymbols, and of AllSymbols once there are more than Max
	Max  int      // 0 means 2000

	// Chosen are the symbols with prices, depth and volume. Nil means List, or the first 20 followed.
	Chosen []string

	// Limited is called once, when AllSymbols meets more than Max. Nil means that nobody is told.
	Limited func(symbols int)
}

// maxChosen bounds the chosen symbols where the policy names none.
const maxChosen = 20

func (p SymbolPolicy) withDefaults() SymbolPolicy {
	setDefault(&p.Max, 2000)
	return p
}

// shown returns the symbols of all that have series of their own. limited tells that it is not all for
// their number.
func (p *SymbolPolicy) shown(all []string) (shown []string, limited bool) {
	switch {
	case p.Mode == NoSymbols:
		return nil, false
	case p.Mode == AllSymbols && len(all) <= p.Max:
		return all, false
	}
	return intersect(all, p.List, p.Max), p.Mode == AllSymbols
}

// chosen returns the symbols of all that have prices.
func (p *SymbolPolicy) chosen(all []string) []string {
	if p.Mode == NoSymbols && p.Chosen == nil {
		return nil
	}
	for _, list := range [][]string{p.Chosen, p.List} {
		if list != nil {
			return intersect(all, list, p.Max)
		}
	}
	return all[:min(len(all), maxChosen)]
}

// intersect returns those of all that are in list, at most n.
func intersect(all, list []string, n int) (both []string) {
	wanted := make(map[string]bool, len(list))
	for _, s := range list {
		wanted[s] = true
	}
	for _, s := range all {
		if wanted[s] && len(both) < n {
			both = append(both, s)
		}
	}
	return both
}
