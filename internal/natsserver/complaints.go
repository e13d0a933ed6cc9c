package natsserver

import (
	"errors"
	"fmt"
	"sync"
)

// complaints is a quiet logger: it keeps the first thing that went wrong, so that Start can say why.
// Without it the server would print, and exit the process on a fatal error.
type complaints struct {
	fatal chan struct{} // closed by the first fatal one
	once  sync.Once

	mu    sync.Mutex
	first error
}

func newComplaints() *complaints { return &complaints{fatal: make(chan struct{})} }

var errSlow = errors.New("it took too long")

func (c *complaints) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == nil {
		return errSlow
	}
	return c.first
}

func (c *complaints) keep(format string, v ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == nil {
		c.first = fmt.Errorf(format, v...)
	}
}

func (c *complaints) Fatalf(format string, v ...any) {
	c.keep(format, v...)
	c.once.Do(func() { close(c.fatal) })
}

func (c *complaints) Errorf(format string, v ...any) { c.keep(format, v...) }
func (c *complaints) Noticef(string, ...any)         {}
func (c *complaints) Warnf(string, ...any)           {}
func (c *complaints) Debugf(string, ...any)          {}
func (c *complaints) Tracef(string, ...any)          {}
