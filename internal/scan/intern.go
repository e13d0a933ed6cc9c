package scan

// MaxInterned is how many strings an Intern keeps.
const MaxInterned = 65_536

// An Intern gives the same string for the same text, so that names that come again and again are
// allocated once. The zero value is ready to use. It is not safe for concurrent use.
//
// It keeps at most MaxInterned strings; further ones are made anew each time.
type Intern struct {
	last  name
	known map[string]name // by quoted
}

// A name is a string and how it is written in JSON. Equal writing means an equal string, so a name
// is found again without reading it.
type name struct {
	text, quoted string
}

// Interned is String for a name that in may know.
func (s *Scanner) Interned(in *Intern) string {
	if last := in.last; len(s.data)-s.pos >= len(last.quoted) && last.quoted != "" &&
		string(s.data[s.pos:s.pos+len(last.quoted)]) == last.quoted {
		s.pos += len(last.quoted)
		return last.text
	}
	s.peek()
	start := s.pos
	text := s.String()
	if s.err != nil {
		return ""
	}
	in.last = in.name(text, s.data[start:s.pos])
	return in.last.text
}

func (in *Intern) name(text, quoted []byte) name {
	n, ok := in.known[string(quoted)]
	if ok {
		return n
	}
	n.quoted = string(quoted)
	if n.text = n.quoted[1 : len(n.quoted)-1]; n.text != string(text) {
		n.text = string(text) // written with escapes
	}
	if in.known == nil {
		in.known = make(map[string]name)
	}
	if len(in.known) < MaxInterned {
		in.known[n.quoted] = n
	}
	return n
}
