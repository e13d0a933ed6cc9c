package config

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

const mask = "xxxxx"

// Print writes all settings as a file that Load reads, each with where it came from. Passwords and
// tokens in addresses are masked.
func (s *Settings) Print(w io.Writer) error {
	var failed error
	s.flags.VisitAll(func(f *pflag.Flag) {
		var line []byte
		var shown any = f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			shown = strings.Join(list.GetSlice(), ",")
		} else if addresses(f.Name) {
			shown = redact(f.Value.String())
		}
		line, err := yaml.Marshal(map[string]any{f.Name: shown})
		if err == nil {
			_, err = fmt.Fprintf(w, "%-60s # %s\n", strings.TrimSpace(string(line)), s.origins[f.Name])
		}
		failed = errors.Join(failed, err)
	})
	return failed
}

// addresses tells whether a setting holds addresses, which may have a password in them.
func addresses(setting string) bool {
	return setting == "nats" || setting == "clickhouse" || strings.HasSuffix(setting, "-url")
}

// redact masks what is secret in a list of addresses: users with their passwords, and all options, of
// which some are passwords.
func redact(list string) string {
	parts := strings.Split(list, ",")
	for i, text := range parts {
		u, err := url.Parse(strings.TrimSpace(text))
		switch {
		case err == nil && u.Host != "":
			if u.User != nil {
				u.User = url.User(mask)
			}
			if u.RawQuery != "" {
				u.RawQuery = mask
			}
			parts[i] = u.String()
		case strings.ContainsAny(text, "@?"):
			parts[i] = mask
		}
	}
	return strings.Join(parts, ",")
}

// hidden drops the text of an error that may quote a secret.
func hidden(setting string, err error) error {
	if addresses(setting) {
		return errors.New("not a value for it")
	}
	return err
}
