package binance

import "time"

// arrivals remember when the updates that wait for a snapshot were received, so that their records
// tell it when the snapshot lets them go.
type arrivals struct {
	list []arrival
	head int // those before it are used up
}

type arrival struct {
	lastID int64 // of the update
	at     time.Time
}

// maxArrivals bounds the memory. Updates whose arrival was forgotten count as received with their
// snapshot.
const maxArrivals = 16 << 10

func (a *arrivals) add(lastID int64, at time.Time) {
	if len(a.list) == maxArrivals {
		a.list, a.head = append(a.list[:0], a.list[maxArrivals/2:]...), 0
	}
	a.list = append(a.list, arrival{lastID, at})
}

// take returns when the update was received, or else. Updates are taken in the order they were added.
func (a *arrivals) take(lastID int64, or time.Time) time.Time {
	for i := a.head; i < len(a.list); i++ {
		if a.list[i].lastID == lastID {
			a.head = i + 1
			return a.list[i].at
		}
	}
	return or
}

func (a *arrivals) clear() { a.list, a.head = a.list[:0], 0 }
