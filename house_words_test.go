package marketprism_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"strings"
	"unicode"
)

// forbiddenPhrases are turns that are not written in comments and documents, with what to write.
var forbiddenPhrases = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?i)\bthat which\b`), "name the thing"},
	{regexp.MustCompile(`(?i)\bwhat\b[^.;:,]{1,40}\bof it\b`), "name the thing"},
	{regexp.MustCompile(`(?i)\b(is|are|was|were|has|have|had) to be \w+(ed|wn|ne|en|nt|ght|id|pt|ld)\b`), "must be, or the active voice"},
	{regexp.MustCompile(`(?i)\bnobody\b`), "no caller, no reader, nothing"},
	{regexp.MustCompile(`(?i)\bin hand\b`), "in flight, current"},
	{regexp.MustCompile(`(?i)\banew\b`), "again"},
	{regexp.MustCompile(`(?i)\bfor ?ever\b`), "without limit"},
	{regexp.MustCompile(`(?i)\bstands\b`), "is"},
	{regexp.MustCompile(`(?i)\btells?\b`), "reports, says, returns"},
	{regexp.MustCompile(`(?i)\btold\b`), "reported, known"},
	{regexp.MustCompile(`(?i)\bbrought away\b|\bbring(s|ing)? away\b`), "flushed"},
	{regexp.MustCompile(`(?i)\bnone the worse\b`), "unaffected"},
	{regexp.MustCompile(`(?i)\bone difference by the other\b`), "every difference"},
	{regexp.MustCompile(`(?i)\bno longer one that\b`), "no longer"},
}

// forbiddenWords are names for which house has another word: in identifiers where they are a part of their
// own (seat in connSeat), in comments and documents as words.
var forbiddenWords = map[string]string{
	"seat": "slot", "staff": "dial", "vacate": "free", "lane": "leg",
	"verdict": "decision", "ruling": "decision",
	"obey": "apply", "heed": "apply",
	"farewell": "lost", "revive": "resubscribe", "bark": "report", "dismiss": "remove",
	"handover": "rotation", "hopeless": "permanent", "mendable": "permanent",
	"bury": "storeDeadLetter", "realigned": "durableReset",
	"pacer": "replayClock or rateLimiter", "overtaken": "superseded, outOfOrder, refreshAhead or unreached",
	"hole": "missing range", "riddle": "",
}

// forbiddenParts are parts of identifiers that have another word and are common in plain English.
var forbiddenParts = map[string]string{
	"told": "emitted", "tell": "emit", "followed": "symbolBook", "letgo": "flush",
	"judge": "decide", "extent": "idRange", "ticket": "fetchState", "admit": "add",
	"takeoff": "inFlight", "cutoff": "lost", "bringaway": "flush",
}

// checkIdentifiers: identifiers use the words of the glossary (doc.go of the root).
func checkIdentifiers(p *housePackage) (breaches []breach) {
	seen := make(map[string]bool)
	for _, f := range p.goFiles() {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			ident, ok := n.(*ast.Ident)
			if !ok || seen[ident.Name] {
				return true
			}
			seen[ident.Name] = true
			parts := camelParts(ident.Name)
			for i, part := range parts {
				instead, bad := forbiddenWord(part)
				if !bad {
					instead, bad = forbiddenParts[part]
				}
				if !bad && i > 0 {
					part = parts[i-1] + part
					instead, bad = forbiddenParts[part]
				}
				if bad {
					breaches = append(breaches, breach{ident.Name, fmt.Sprintf("%s: %s: not %q, use %s",
						p.fset.Position(ident.Pos()), ident.Name, part, instead)})
					break
				}
			}
			return true
		})
	}
	return breaches
}

// forbiddenWord looks a word up, also in the plural and in the forms of a verb.
func forbiddenWord(word string) (instead string, bad bool) {
	for _, ending := range []string{"", "s", "es", "d", "ed", "ing"} {
		if stem, ok := strings.CutSuffix(word, ending); ok {
			if instead, bad = forbiddenWords[stem]; bad {
				return instead, true
			}
		}
	}
	return "", false
}

// camelParts splits an identifier into lower-case words.
func camelParts(name string) (parts []string) {
	runes, start := []rune(name), 0
	for i := 1; i <= len(runes); i++ {
		if i == len(runes) || runes[i] == '_' ||
			unicode.IsUpper(runes[i]) && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			if part := strings.Trim(strings.ToLower(string(runes[start:i])), "_"); part != "" {
				parts = append(parts, part)
			}
			start = i
		}
	}
	return parts
}

var word = regexp.MustCompile(`[A-Za-z]+`)

// checkWords: comments, documents and the texts of programs (errors, logs, output; not those of tests) are
// plain, in the words of the glossary. Quoted words in comments and code in documents are not looked at.
func checkWords(p *housePackage) (breaches []breach) {
	check := func(f *houseFile, line int, text string) {
		report := func(match, instead string) {
			breaches = append(breaches, breach{f.name, fmt.Sprintf("%s:%d: not %q, rather %s", f.path, line, match, instead)})
		}
		for _, phrase := range forbiddenPhrases {
			if match := phrase.pattern.FindString(text); match != "" {
				report(match, phrase.instead)
			}
		}
		for _, w := range word.FindAllString(text, -1) {
			if instead, bad := forbiddenWord(strings.ToLower(w)); bad {
				report(w, instead)
			}
		}
	}
	for _, f := range p.goFiles() {
		if strings.HasPrefix(f.name, "house_") && p.name == "." {
			continue // they quote what they forbid
		}
		for _, group := range f.syntax.Comments {
			check(f, p.fset.Position(group.Pos()).Line, quoted.ReplaceAllString(strings.Join(strings.Fields(group.Text()), " "), "“”"))
		}
	}
	for _, f := range p.files {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && strings.Contains(lit.Value, " ") {
				check(f, p.fset.Position(lit.Pos()).Line, lit.Value)
			}
			return true
		})
	}
	for _, f := range p.docs {
		for i, line := range strings.Split(fenced.ReplaceAllStringFunc(f.text, blank), "\n") {
			check(f, i+1, quoted.ReplaceAllString(line, "“”"))
		}
	}
	return breaches
}

var (
	quoted = regexp.MustCompile("\"[^\"]*\"|`[^`]*`")
	fenced = regexp.MustCompile("(?s)```.*?```")
)

// blank keeps only the line ends of a text.
func blank(text string) string { return strings.Repeat("\n", strings.Count(text, "\n")) }
