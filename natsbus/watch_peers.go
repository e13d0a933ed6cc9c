package natsbus

import (
	"errors"
	"time"
)

// peers are the services that were heard of, and are not gone. It reads no clock.
type peers struct {
	max   int
	known map[peerName]*Peer
}

type peerName struct{ service, instance string }

// maxInterval is the longest time between two beats.
const maxInterval = 24 * time.Hour

var errInterval = errors.New("natsbus: the interval of a beat is negative, or more than a day")

// hear takes a beat. It returns the service, and whether that is news.
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

// expire returns the services that have become late or gone. Those that are gone are forgotten.
func (p *peers) expire(now time.Time) (changed []Peer) {
	for name, peer := range p.known {
		was := peer.Liveness
		switch silent := now.Sub(peer.Heard); {
		case silent >= goneAfter*peer.Every:
			peer.Liveness = Gone
			delete(p.known, name)
		case silent >= lateAfter*peer.Every:
			peer.Liveness = Late
		}
		if peer.Liveness != was {
			changed = append(changed, *peer)
		}
	}
	return changed
}

// deadline returns when expire will have something to tell; false if never.
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
