// Package integration tests several packages of this module together, in separate processes where the tests kill
// them.
package integration
