package binance

import "context"

// A RotateReason is why a connection is replaced by a new one.
type RotateReason uint8

// The reasons to replace a connection.
const (
	RotateAge      RotateReason = 1 // it approaches the age at which the exchange ends it
	RotateShutdown RotateReason = 2 // the exchange has announced that it ends it
	RotateRequest  RotateReason = 3 // DepthSyncer.Rotate was called
	RotateSilent   RotateReason = 4 // a watchdog found it silent, though it is open
)

var rotateReasons = [...]string{RotateAge: "age", RotateShutdown: "shutdown", RotateRequest: "request", RotateSilent: "silent"}

// String returns the reason's one-word name, "unknown" for a value that is none of the constants.
func (r RotateReason) String() string {
	if r == 0 || int(r) >= len(rotateReasons) {
		return "unknown"
	}
	return rotateReasons[r]
}

// Rotate replaces every connection by a new one, without a resync and without a gap: each old
// connection is closed once its replacement carries every stream. It returns at once; Hooks.Rotated
// tells of each. A connection whose replacement is under way is left as it is. While Run does not run
// it does nothing.
func (d *DepthSyncer) Rotate() {
	for _, f := range d.allShards() {
		f.tasks.post(func(context.Context) error {
			for _, s := range f.seats {
				s.want(RotateRequest, f.now)
			}
			f.arm(f.now)
			return nil
		})
	}
}
