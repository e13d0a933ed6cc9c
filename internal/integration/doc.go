// Package integration holds tests that need several packages of this module together, as processes of
// their own where those are to be killed.
package integration
