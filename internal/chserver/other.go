//go:build !(linux && amd64)

package chserver

import "context"

// Start returns ErrUnsupported.
func Start(context.Context, Config) (*Server, error) { return nil, ErrUnsupported }

func serve(string, []string) int { return 1 }
