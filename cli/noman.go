//go:build !man

package cli

import "github.com/spf13/cobra"

// packagerCommands are none: what writes the manual pages is in no program that anybody runs.
func (p *program) packagerCommands() []*cobra.Command { return nil }
