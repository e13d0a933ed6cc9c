package command

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// confirm asks on a terminal; elsewhere yes has to be given.
func (p *program) confirm(cmd *cobra.Command, yes bool, what string) error {
	if yes {
		return nil
	}
	in, ok := cmd.InOrStdin().(interface{ Fd() uintptr })
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usageError{fmt.Errorf("there is nobody to ask whether to %s: give --yes", what)}
	}
	fmt.Fprintf(p.errOut, "%s? [y/N] ", what)
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil || strings.ToLower(strings.TrimSpace(answer)) != "y" {
		return errors.New("nothing was changed")
	}
	return nil
}
