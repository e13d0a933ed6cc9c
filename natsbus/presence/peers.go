package presence

import (
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/marketprism/marketprism/natsbus/internal/check"
)

// A Liveness is the state of a service, by the time since its last beat.
type Liveness uint8

const (
	// Alive: its beats come in time.
	Alive Liveness = iota + 1
	// Late: none has come for twice its interval.
	Late
	// Gone: none has come for four times its interval, or the service has ended.
	Gone
)

// String returns the liveness's name.
func (l Liveness) String() string {
	switch l {
	case Alive:
		return "alive"
	case Late:
		return "late"
	case Gone:
		return "gone"
	}
	return "unknown"
}

// Intervals without a beat after which a service is late, and gone.
const (
	lateAfter = 2
	goneAfter = 4
)

// maxInterval is the longest time between two beats.
const maxInterval = 24 * time.Hour

// A Peer is a service that a Watch knows.
type Peer struct {
	Beat     // its last
	Liveness Liveness
	Heard    time.Time // local clock, when the last beat arrived
}

// ErrTooManyPeers is the error for a service beyond WatchConfig.MaxPeers.
var ErrTooManyPeers = errors.New("presence: too many services")

var errInterval = errors.New("presence: the interval of a beat is negative, or more than a day")

// peers are the services that have sent a beat and are not gone. It reads no clock.
type peers struct {
	max   int
	known map[peerName]*Peer
}

// The bounds of a beat's texts in bytes. A Heartbeat's own are far shorter.
const (
	maxVersion = 128
	maxState   = 512
)

var errText = errors.New("presence: a beat with text that is long or cannot be printed")

// checkTexts returns an error if texts of a beat are not fit to be shown: any peer may send any.
func checkTexts(b *Beat) error {
	printable := func(text string) bool {
		return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) })
	}
	if len(b.Version) > maxVersion || len(b.State) > maxState || !printable(b.Version) || !printable(b.State) {
		return errText
	}
	return check.Names("Service", b.Service, "Instance", b.Instance)
}

type peerName struct{ service, instance string }

// hear applies a beat. It returns the service, and whether its liveness has changed or it has started again.
func (p *peers) hear(now time.Time, b Beat) (peer Peer, changed bool, err error) {
	if b.Every < 0 || b.Every > maxInterval {
		return Peer{}, false, errInterval
	}
	name := peerName{b.Service, b.Instance}
	known := p.known[name]
	switch {
	case b.Every == 0:
		delete(p.known, name)
		return Peer{b, Gone, now}, known != nil, nil
	case known == nil && len(p.known) >= p.max:
		return Peer{}, false, ErrTooManyPeers
	case known == nil:
		known = &Peer{}
		if p.known == nil {
			p.known = make(map[peerName]*Peer)
		}
		p.known[name] = known
	}
	changed = known.Liveness != Alive || !known.Started.Equal(b.Started)
	*known = Peer{b, Alive, now}
	return *known, changed, nil
}

// expire returns the services that have become late or gone, and removes those that are gone.
func (p *peers) expire(now time.Time) (changed []Peer) {
	for name, peer := range p.known {
		before := peer.Liveness
		switch silent := now.Sub(peer.Heard); {
		case silent >= goneAfter*peer.Every:
			peer.Liveness = Gone
			delete(p.known, name)
		case silent >= lateAfter*peer.Every:
			peer.Liveness = Late
		}
		if peer.Liveness != before {
			changed = append(changed, *peer)
		}
	}
	return changed
}

// deadline returns when expire will next change a service; false if never.
func (p *peers) deadline() (next time.Time, ok bool) {
	for _, peer := range p.known {
		after := lateAfter * peer.Every
		if peer.Liveness == Late {
			after = goneAfter * peer.Every
		}
		if at := peer.Heard.Add(after); !ok || at.Before(next) {
			next, ok = at, true
		}
	}
	return next, ok
}

func (p *peers) all() []Peer {
	all := make([]Peer, 0, len(p.known))
	for _, peer := range p.known {
		all = append(all, *peer)
	}
	return all
}
