package deadletter

import (
	"log/slog"

	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus"
)

// Hooks observe a Redriver or an AdvisoryWatch. Any field may be nil. They are called on the goroutine of Run, after
// Stats has changed, and must not block.
type Hooks struct {
	Redriven     func(*Letter)                  // a letter was re-driven; Redrives is how often before
	Quarantined  func(*Letter)                  // a letter will not be re-driven any more; once for each in a Run
	DeadLettered func(natsbus.DeadLetterInfo)   // an AdvisoryWatch has made a dead letter
	Undecodable  func(natsbus.UndecodableInfo)  // an advisory cannot be read
	ServerFailed func(natsbus.ServerFailedInfo) // the server did not answer; the request will be repeated
}

// TeeHooks returns Hooks that call each of hooks, in order. nil ones are left out.
func TeeHooks(hooks ...*Hooks) *Hooks {
	var all Hooks
	for _, h := range hooks {
		if h == nil {
			continue
		}
		all.Redriven = hook.Join(all.Redriven, h.Redriven)
		all.Quarantined = hook.Join(all.Quarantined, h.Quarantined)
		all.DeadLettered = hook.Join(all.DeadLettered, h.DeadLettered)
		all.Undecodable = hook.Join(all.Undecodable, h.Undecodable)
		all.ServerFailed = hook.Join(all.ServerFailed, h.ServerFailed)
	}
	return &all
}

// LogHooks returns Hooks that log. The log handler must not block.
func LogHooks(l *slog.Logger) *Hooks {
	bus := natsbus.LogHooks(l)
	return &Hooks{
		Redriven: func(d *Letter) {
			l.Info("dead letter re-driven", "sequence", d.Sequence, "subject", d.Subject, "reason", d.Reason, "redrives", d.Redrives)
		},
		Quarantined: func(d *Letter) {
			l.Error("dead letter is in quarantine", "sequence", d.Sequence, "subject", d.Subject, "reason", d.Reason,
				"redrives", d.Redrives, "err", d.Error)
		},
		DeadLettered: bus.DeadLettered,
		Undecodable:  bus.Undecodable,
		ServerFailed: bus.ServerFailed,
	}
}
