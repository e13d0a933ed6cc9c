// Package check validates the configuration fields that natsbus and the packages below it have in common.
package check

import (
	"fmt"
	"strings"
	"time"

	"github.com/marketprism/marketprism/internal/defaults"
)

// DefaultPrefix is natsbus.DefaultPrefix.
const DefaultPrefix = "md"

// IsName reports whether s consists of ASCII letters, digits, '-' and '_', as a token of a subject and the name of
// a stream or durable must. "" does.
func IsName(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	})
}

// Names returns an error that names the fields unless each value is a name and not empty. Fields and values
// alternate.
func Names(fields ...string) error {
	var text []string
	valid := true
	for i := 0; i < len(fields); i += 2 {
		valid = valid && fields[i+1] != "" && IsName(fields[i+1])
		text = append(text, fmt.Sprintf("%s %q", fields[i], fields[i+1]))
	}
	if valid {
		return nil
	}
	return fmt.Errorf("%s: want one or more letters, digits, '-' and '_'", strings.Join(text, ", "))
}

// Prefix returns an error unless prefix consists of one or more names with dots between.
func Prefix(prefix string) error {
	for token := range strings.SplitSeq(prefix, ".") {
		if token == "" || !IsName(token) {
			return fmt.Errorf("prefix %q: want tokens of letters, digits, '-' and '_' with dots between", prefix)
		}
	}
	return nil
}

// StreamName returns the default name of a stream: that of the prefix in capitals, with the class behind it.
func StreamName(prefix, class string) string {
	defaults.Set(&prefix, DefaultPrefix)
	return strings.ToUpper(strings.ReplaceAll(prefix, ".", "_")) + class
}

// Retry fills in and checks the bounds of a back-off.
func Retry(low, high *time.Duration, lowDefault, highDefault time.Duration) error {
	if *high > 0 {
		lowDefault = min(lowDefault, *high)
	}
	defaults.Set(low, lowDefault)
	defaults.Set(high, max(highDefault, *low))
	if *low < 0 || *high < *low {
		return fmt.Errorf("RetryMin %v, RetryMax %v: want 0 < RetryMin <= RetryMax", *low, *high)
	}
	return nil
}
