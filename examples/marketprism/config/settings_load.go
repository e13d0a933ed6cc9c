package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// ClassicDSN is the environment variable that other programs of this module also read.
const ClassicDSN = "CLICKHOUSE_DSN"

// A FileError is an invalid line of the settings file.
type FileError struct {
	Path string
	Line int // 0 if the file is not YAML
	Err  error
}

func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.Path, e.Line, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// ErrUnknown means that a file has an unknown setting.
var ErrUnknown = errors.New("unknown setting")

// Load sets the settings without flags from the environment, or else from the file, and validates the result. path ""
// means no file. Parse the flags first.
func (s *Settings) Load(path string, lookup func(string) (string, bool)) error {
	values, err := readFile(path, s.flags)
	if err != nil {
		return err
	}
	s.flags.VisitAll(func(f *pflag.Flag) {
		if err != nil {
			return
		}
		s.origins[f.Name], err = s.fill(f, values, path, lookup)
	})
	if err != nil {
		return err
	}
	return s.Config.Validate()
}

func (s *Settings) fill(f *pflag.Flag, values map[string]value, path string, lookup func(string) (string, bool)) (Origin, error) {
	if f.Changed {
		return FromFlag, nil
	}
	name := EnvName(f.Name)
	text, ok := lookup(name)
	if !ok && f.Name == "clickhouse" {
		name = ClassicDSN
		text, ok = lookup(name)
	}
	if ok {
		if err := f.Value.Set(text); err != nil {
			return "", fmt.Errorf("%s: %w", name, hidden(f.Name, err))
		}
		return FromEnv, nil
	}
	if v, ok := values[f.Name]; ok {
		if err := f.Value.Set(v.text); err != nil {
			return "", &FileError{path, v.line, fmt.Errorf("%s: %w", f.Name, hidden(f.Name, err))}
		}
		return FromFile, nil
	}
	return FromDefault, nil
}

// A value is one setting of a file.
type value struct {
	text string
	line int
}

func readFile(path string, known *pflag.FlagSet) (map[string]value, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; marketprism config print > FILE writes one with all settings", err)
	}
	if err != nil {
		return nil, err
	}
	defer text.Close()
	var root yaml.Node
	decoder := yaml.NewDecoder(text)
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		return nil, nil // nothing but comments
	} else if err != nil {
		return nil, &FileError{Path: path, Err: err}
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, &FileError{Path: path, Err: errors.New("more than one document")}
	}
	return readMapping(path, root.Content[0], known)
}

func readMapping(path string, node *yaml.Node, known *pflag.FlagSet) (map[string]value, error) {
	if node.Kind != yaml.MappingNode {
		return nil, &FileError{path, node.Line, errors.New("want lines of the form setting: value")}
	}
	values := make(map[string]value)
	for i := 0; i < len(node.Content); i += 2 {
		key, val := node.Content[i], node.Content[i+1]
		if known.Lookup(key.Value) == nil {
			return nil, &FileError{path, key.Line, fmt.Errorf("%w %q; marketprism config print lists them all", ErrUnknown, key.Value)}
		}
		if first, twice := values[key.Value]; twice {
			return nil, &FileError{path, key.Line, fmt.Errorf("%s is set in line %d already", key.Value, first.line)}
		}
		text, err := scalar(val, known.Lookup(key.Value).Value.Type() == "stringSlice")
		if err != nil {
			return nil, &FileError{path, val.Line, fmt.Errorf("%s: %w", key.Value, err)}
		}
		values[key.Value] = value{text, key.Line}
	}
	return values, nil
}

// scalar returns the text of a value; a list becomes the value of its flag.
func scalar(node *yaml.Node, list bool) (string, error) {
	switch {
	case node.Kind == yaml.ScalarNode:
		return node.Value, nil
	case node.Kind != yaml.SequenceNode || !list:
		return "", errors.New("want one value")
	}
	var all []string
	for _, item := range node.Content {
		if item.Kind != yaml.ScalarNode || strings.ContainsAny(item.Value, ",\"\n") {
			return "", errors.New("want a list of plain values")
		}
		all = append(all, item.Value)
	}
	return strings.Join(all, ","), nil
}
