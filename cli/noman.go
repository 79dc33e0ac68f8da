//go:build !man

package cli

import "github.com/spf13/cobra"

// packagerCommands is empty: only a build for packagers writes manual pages.
func (p *program) packagerCommands() []*cobra.Command { return nil }
