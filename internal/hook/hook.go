// Package hook calls and joins hooks: funcs that observe events, and that may be nil.
package hook

// Call calls a hook that is set.
func Call[Info any](f func(Info), info Info) {
	if f != nil {
		f(info)
	}
}

// Join returns a hook that calls a and then b; nil if both are nil.
func Join[Info any](a, b func(Info)) func(Info) {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return func(info Info) {
		a(info)
		b(info)
	}
}
