package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"swallowkeeper/upstream"
)

// reason is why a person gives an order, as a flag takes it.
type reason string

var _ pflag.Value = (*reason)(nil)

// Set implements pflag.Value.
func (r *reason) Set(text string) error {
	text = strings.TrimSpace(text)
	if upstream.ValidWhy(text) != nil {
		return fmt.Errorf("allowed is one line of visible characters, at most %d bytes", upstream.MaxWhy)
	}
	*r = reason(text)
	return nil
}

// String implements pflag.Value.
func (r *reason) String() string { return string(*r) }

// Type implements pflag.Value.
func (r *reason) Type() string { return "TEXT" }

// reasonFlag lets a person say why.
func reasonFlag(c *cobra.Command, r *reason, usage string) {
	c.Flags().Var(r, "reason", usage+"`TEXT` that says why: it is kept beside your name in log, timeline and history")
	fixed(c, "reason")
}
