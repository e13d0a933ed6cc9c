// Package defaults fills in configuration fields that are left at their zero value.
package defaults

// Set gives *field the value if it is zero.
func Set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
