package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"swallowkeeper/generation"
)

// why is a flag with the reason for an order.
type why string

var _ pflag.Value = (*why)(nil)

// Set implements pflag.Value.
func (r *why) Set(text string) error {
	text = strings.TrimSpace(text)
	if generation.ValidWhy(text) != nil {
		return fmt.Errorf("allowed is one line of visible characters, at most %d bytes", generation.MaxWhy)
	}
	*r = why(text)
	return nil
}

// String implements pflag.Value.
func (r *why) String() string { return string(*r) }

// Type implements pflag.Value.
func (r *why) Type() string { return "TEXT" }

// reasonFlag adds the flag.
func reasonFlag(c *cobra.Command, r *why, usage string) {
	c.Flags().Var(r, "reason", usage+"`TEXT` with your reason: it is recorded with your name in log, timeline and history")
	fixed(c, "reason")
}
