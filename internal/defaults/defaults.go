// Package defaults replaces zero values in configurations.
package defaults

// Set sets *field to value if it is zero.
func Set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
