package letter

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// The error is cut to its bound also where making it valid UTF-8 lengthens it.
func TestErrorTextIsCut(t *testing.T) {
	for _, text := range []string{strings.Repeat("a\xff", maxErrorText), strings.Repeat("é", maxErrorText), "a" + strings.Repeat("é", maxErrorText)} {
		msg := New(Origin{}, nil, nil, Cause{Err: errors.New(text)})
		got := msg.Header.Get(HeaderError)
		require.LessOrEqual(t, len(got), maxErrorText)
		require.Greater(t, len(got), maxErrorText-4)
		require.True(t, utf8.ValidString(got))
	}
}
