package chstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/marketprism/marketprism/internal/defaults"
)

// Tiers says to which volume old rows move. Volumes and their disks are part of the server's
// configuration; Migrate makes sure that they exist, and sets the policy on the tables.
//
// The first volume of the policy must be called default, like the only volume of ClickHouse's own
// policy: ClickHouse lets a table change its policy only to one that has all volumes of
// the old one. A table cannot go back: an empty Policy leaves tables as they are.
type Tiers struct {
	// Policy is the storage policy of all tables. "" means the server's own for new tables.
	Policy string
	// Volume is where old rows move. "" means cold.
	Volume string
	// After is the age at which rows move, by table, counted as for TTL. 0 means never.
	After TTL
}

func (c Tiers) volume() string {
	defaults.Set(&c.Volume, "cold")
	return c.Volume
}

// moves reports whether any table's rows are moved.
func (c Tiers) moves() bool { return c.After != TTL{} }

func (c Tiers) validate(ttl TTL) error {
	switch {
	case c.Policy != "" && !isName(c.Policy):
		return fmt.Errorf("chstore: Tiers.Policy %q: want letters, digits and underscores", c.Policy)
	case !isName(c.volume()):
		return fmt.Errorf("chstore: Tiers.Volume %q: want letters, digits and underscores", c.Volume)
	case c.Policy == "" && c.moves():
		return errors.New("chstore: Tiers.After without a Policy")
	}
	for t := range tableCount {
		after, kept := t.ttl(c.After), t.ttl(ttl)
		if err := checkAge("Tiers.After", t, after, "never"); err != nil {
			return err
		}
		if kept != 0 && after >= kept {
			return fmt.Errorf("chstore: Tiers.After of %s is %v, and its rows are kept for %v", t.name(), after, kept)
		}
	}
	return nil
}

// lastExpiry is the last time at which ClickHouse can drop or move rows, in seconds since 1970: DateTime ends at
// 2106-02-07 06:28:15. A later one would count from 1970 again, so that all rows had expired (ClickHouse issue 101763).
const lastExpiry = math.MaxUint32

// checkAge returns an error for an age at which ClickHouse cannot drop or move a row of today. 0 means never.
func checkAge(setting string, t table, age time.Duration, never string) error {
	most := time.Until(time.Unix(lastExpiry, 0)).Truncate(24 * time.Hour)
	switch {
	case age != 0 && age < time.Second:
		return fmt.Errorf("chstore: %s of %s is %v: want at least a second, or 0 for %s", setting, t.name(), age, never)
	case age > most:
		return fmt.Errorf("chstore: %s of %s is %v: want at most %v, since ClickHouse cannot let rows expire after %s, or 0 for %s",
			setting, t.name(), age, most, time.Unix(lastExpiry, 0).UTC().Format(time.DateTime), never)
	}
	return nil
}

// A TierError says that the server does not have the tiers of Config, or cannot use them.
type TierError struct {
	Policy string
	Volume string // "" if the policy itself is missing
	Disk   string // "" if the volume itself is missing
	What   string // "is missing", "is broken", "is read-only"
}

func (e *TierError) Error() string {
	text := fmt.Sprintf("chstore: storage policy %s", e.Policy)
	if e.Volume != "" {
		text += ", volume " + e.Volume
	}
	if e.Disk != "" {
		text += ", disk " + e.Disk
	}
	return text + " " + e.What + " on the server"
}

// check makes sure that the server has the policy and the volumes, before anything is changed.
func (c Tiers) check(ctx context.Context, conn *Conn) error {
	if c.Policy == "" {
		return nil
	}
	var volumes []string
	var unusable *TierError // the first one
	err := conn.eachRow(ctx, "SELECT p.volume_name, d.name, d.is_broken, d.is_read_only "+
		"FROM (SELECT volume_name, arrayJoin(disks) AS disk FROM system.storage_policies WHERE policy_name = {policy:String}) AS p "+
		"LEFT JOIN system.disks AS d ON d.name = p.disk", []any{named("policy", c.Policy)}, func(rows driver.Rows) error {
		e := TierError{Policy: c.Policy}
		var broken, readOnly uint8
		if err := rows.Scan(&e.Volume, &e.Disk, &broken, &readOnly); err != nil {
			return err
		}
		volumes = append(volumes, e.Volume)
		switch {
		case broken != 0:
			e.What = "is broken"
		case readOnly != 0:
			e.What = "is read-only"
		}
		if e.What != "" && unusable == nil {
			unusable = &e
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("chstore: look at storage policy %s: %w", c.Policy, err)
	case unusable != nil:
		return unusable
	case len(volumes) == 0:
		return &TierError{Policy: c.Policy, What: "is missing"}
	case c.moves() && !slices.Contains(volumes, c.volume()):
		return &TierError{Policy: c.Policy, Volume: c.volume(), What: "is missing"}
	}
	return nil
}
