package command

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// A moment is a flag: an RFC 3339 time, or a time before now such as -1h. Empty is the zero time.
type moment struct{ time.Time }

func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339Nano)
}

func (m *moment) Type() string { return "time" }

func (m *moment) Set(text string) error {
	if text == "now" {
		m.Time = time.Now()
		return nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		m.Time = time.Now().Add(ago)
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return fmt.Errorf("want a time such as 2026-01-31T12:00:00Z, or -1h for an hour ago")
	}
	m.Time = t
	return nil
}

// A span is the flags --from and --to.
type span struct{ from, to moment }

func (s *span) flags(cmd *cobra.Command) {
	cmd.Flags().Var(&s.from, "from", "first moment, such as 2026-01-31T12:00:00Z or -1h; empty means no bound")
	cmd.Flags().Var(&s.to, "to", "moment before which it ends, likewise")
}
