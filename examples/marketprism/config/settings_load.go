package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
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

// ErrUnknownEnv means that the environment has a variable of this program's that is no setting.
var ErrUnknownEnv = errors.New("no setting has this variable")

// Load sets the settings without flags from the environment, as os.Environ returns it, or else from the file, and validates the
// result. path "" means no file. others are the variables of the program that are no settings. Parse the flags first.
func (s *Settings) Load(path string, environ []string, others ...string) error {
	values, err := readFile(path, s.flags)
	if err != nil {
		return err
	}
	variables, err := s.variables(environ, others)
	if err != nil {
		return err
	}
	s.file, s.lines = path, make(map[string]int)
	s.flags.VisitAll(func(f *pflag.Flag) {
		if err == nil {
			err = s.fill(f, values, variables)
		}
	})
	if err != nil {
		return err
	}
	for i, symbol := range s.Config.Symbols {
		s.Config.Symbols[i] = strings.ToUpper(symbol)
	}
	s.Config.PageFallback = s.Config.PageListen == s.flags.Lookup("page-listen").DefValue
	var bad *ValueError
	if err := s.Config.Validate(); errors.As(err, &bad) {
		return s.at(bad)
	}
	return nil
}

// serviceLinks are the variables that Kubernetes sets for each Service, in a pod of one that is called marketprism or
// marketprism-…: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
var serviceLinks = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// variables returns the environment by name, and an error if a variable looks like one of a setting and is none.
func (s *Settings) variables(environ, others []string) (map[string]string, error) {
	all, known := make(map[string]string), slices.Clone(others)
	s.flags.VisitAll(func(f *pflag.Flag) { known = append(known, EnvName(f.Name)) })
	var unknown []string
	for _, variable := range environ {
		name, text, _ := strings.Cut(variable, "=")
		all[name] = text
		if strings.HasPrefix(name, EnvName("")) && !slices.Contains(known, name) && !serviceLinks.MatchString(name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		name := slices.Min(unknown)
		return nil, fmt.Errorf("%s: %w%s", name, ErrUnknownEnv, Hint(Closest(name, known)))
	}
	return all, nil
}

// fill sets a setting, its origin, and its line in the file.
func (s *Settings) fill(f *pflag.Flag, values map[string]value, variables map[string]string) error {
	text, inEnv := variables[EnvName(f.Name)]
	if !inEnv && f.Name == "clickhouse" {
		text, inEnv = variables[ClassicDSN]
		s.classic = inEnv
	}
	v, inFile := values[f.Name]
	switch {
	case f.Changed:
		s.origins[f.Name] = FromFlag
		return nil
	case inEnv:
		s.origins[f.Name] = FromEnv
	case inFile:
		s.origins[f.Name], s.lines[f.Name], text = FromFile, v.line, v.text
	default:
		s.origins[f.Name] = FromDefault
		return nil
	}
	if f.Value.Set(text) != nil {
		return s.at(ParseError(f.Name, f, text))
	}
	return nil
}

// at returns the error of a setting's value with where it was set.
func (s *Settings) at(e *ValueError) error {
	name := e.Setting
	e.Setting = s.Place(name)
	if s.origins[name] == FromFile {
		return &FileError{s.file, s.lines[name], e}
	}
	return e
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
	text, err := os.ReadFile(path) // #nosec G304 -- the file is named by the operator
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; marketprism config print > FILE writes one with all settings", err)
	}
	if err != nil {
		return nil, err
	}
	var root yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		return nil, nil // nothing but comments
	} else if err != nil {
		return nil, &FileError{Path: path, Err: errors.New(strings.TrimPrefix(err.Error(), "yaml: "))}
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
			var names []string
			known.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
			return nil, &FileError{path, key.Line, fmt.Errorf("%w %q%s; marketprism config print lists them all", ErrUnknown, key.Value, Hint(Closest(key.Value, names)))}
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
