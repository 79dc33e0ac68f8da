//go:build man

package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"swallowkeeper/config"
	"swallowkeeper/operate"
	"swallowkeeper/status"
)

// manMore is what the main page has beyond --help, in the Markdown that cobra/doc takes.
func manMore() string {
	var own []string
	for _, kind := range operate.Kinds().Registries {
		if kind.Environment != "" {
			own = append(own, kind.Environment)
		}
	}
	return `

# EXIT STATUS

**0** in sync, or the daemon was told to end; **1** failed; **2** wrong usage or configuration;
**3** the guard holds a change; **4** a gateway is out of sync.

# ENVIRONMENT

**SWALLOWKEEPER_GUARD_MIN_SERVICES** and the like set any key of the configuration. They override
the file, and the command line overrides them. A registry's own variables apply if the configuration
does not set the value: ` + strings.Join(own, "; ") + `.

# FILES

` + config.DefaultPath + ` is the default configuration file.`
}

// packagerCommands are the commands of a build with the tag "man", for packagers.
func (p *program) packagerCommands() []*cobra.Command { return []*cobra.Command{p.manCommand()} }

// manCommand writes the manual pages. They have the text of --help.
func (p *program) manCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "man", Short: "Write the manual pages, one per command", Args: takes(0, 0), Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return operate.Exit(status.ExitFailed, fmt.Errorf("make the folder of the manual pages: %w", err))
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			root.Long += manMore()
			for _, sub := range root.Commands() {
				// Packages contain the completions, so nobody needs a page on how to generate them.
				sub.Hidden = sub.Hidden || sub.Name() == "completion"
			}
			header := &doc.GenManHeader{Section: "1", Source: "swallowkeeper " + p.Version, Manual: "User Commands"}
			if err := doc.GenManTree(root, header, dir); err != nil {
				return operate.Exit(status.ExitFailed, fmt.Errorf("write the manual pages: %w", err))
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "write them into this `FOLDER`")
	_ = c.MarkFlagRequired("dir")
	_ = c.MarkFlagDirname("dir")
	return c
}
