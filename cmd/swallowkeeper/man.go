//go:build man

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"swallowkeeper/config"
)

// manMore is what the main page says beyond --help, in the Markdown that cobra/doc takes.
const manMore = `

# EXIT STATUS

**0** in sync, or the daemon was told to end; **1** failed; **2** wrong usage or configuration;
**3** the guard holds a change; **4** a gateway is out of sync.

# ENVIRONMENT

**SWALLOWKEEPER_GUARD_MIN_SERVICES** and the like set any key of the configuration; the command
line goes over them, and they over the file. **CONSUL_HTTP_ADDR**, **CONSUL_HTTP_TOKEN** and the
rest of Consul's own hold where the configuration says nothing else.

# FILES

` + config.DefaultPath + ` is the configuration where no other is given.`

// packagerCommands are those of a build for packagers, with the tag "man".
func (p *program) packagerCommands() []*cobra.Command { return []*cobra.Command{p.manCommand()} }

// manCommand writes the manual pages, which say what --help says.
func (p *program) manCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "man", Short: "Write the manual pages, one a command", Args: takes(0, 0), Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return exit(exitFailed, fmt.Errorf("make the folder of the manual pages: %w", err))
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			root.Long += manMore
			for _, sub := range root.Commands() {
				// Packages bring the completions: nobody needs a page on how to make them.
				sub.Hidden = sub.Hidden || sub.Name() == "completion"
			}
			header := &doc.GenManHeader{Section: "1", Source: "swallowkeeper " + versionText(), Manual: "User Commands"}
			if err := doc.GenManTree(root, header, dir); err != nil {
				return exit(exitFailed, fmt.Errorf("write the manual pages: %w", err))
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "write them into this `FOLDER`")
	_ = c.MarkFlagRequired("dir")
	_ = c.MarkFlagDirname("dir")
	return c
}
