package natsbus

import (
	"strings"
	"unicode/utf8"
)

// errText is the text of err, cut to MaxErrText bytes and made UTF-8. A hole in the data must be
// told whatever its cause has to say, so bad text is mended and not refused.
func errText(err error) string {
	text := err.Error()
	if len(text) > MaxErrText {
		const ellipsis = "…"
		cut := MaxErrText - len(ellipsis)
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + ellipsis
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
