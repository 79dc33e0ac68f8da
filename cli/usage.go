package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"swallowkeeper/internal/near"
	"swallowkeeper/internal/setting"
)

// Usage errors are worded here, with the nearest valid choice.

// takes sets the number of arguments of a command. Their names are those in its Use.
func takes(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		_, names, _ := strings.Cut(c.Use, " ")
		switch {
		case len(args) < least:
			return fmt.Errorf("%s is missing: usage: %s %s", strings.Fields(names)[len(args)], c.CommandPath(), names)
		case len(args) > most && names == "":
			return fmt.Errorf("unknown command %q: %s takes no argument", args[0], c.CommandPath())
		case len(args) > most:
			return fmt.Errorf("unexpected argument %q: usage: %s %s", args[most], c.CommandPath(), names)
		}
		return nil
	}
}

// noSuchCommand lists the subcommands that may be meant.
func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var known []string
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			known = append(known, sub.Name())
		}
	}
	return fmt.Errorf("unknown command %q%s", args[0], meant(args[0], known, "; there are "+strings.Join(known, ", ")))
}

// meant suggests the nearest known word, or returns or if none is near.
func meant(given string, known []string, or string) string {
	if word := near.Word(given, known); word != "" {
		return "; did you mean " + word + "?"
	}
	return or
}

// wrongFlag words an error about a flag.
func wrongFlag(c *cobra.Command, err error) error {
	var (
		unknown  *pflag.NotExistError
		missing  *pflag.ValueRequiredError
		invalid  *pflag.InvalidValueError
		nonsense *pflag.InvalidSyntaxError
	)
	switch {
	case errors.As(err, &unknown):
		// The flags of an unknown command are unknown as well.
		if words := c.Flags().Args(); c.HasSubCommands() && len(words) > 0 {
			return noSuchCommand(c, words)
		}
		name := unknown.GetSpecifiedName()
		if letters := unknown.GetSpecifiedShortnames(); letters != "" { // a single dash may be meant as two
			return fmt.Errorf("unknown flag: -%.1s%s", name, meantFlag(c, letters))
		}
		return fmt.Errorf("unknown flag: --%s%s", name, meantFlag(c, name))
	case errors.As(err, &missing):
		_, usage := pflag.UnquoteUsage(missing.GetFlag())
		return fmt.Errorf("the flag needs an argument: --%s: %s", missing.GetFlag().Name, usage)
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		why := invalid.Unwrap()
		if f.Value.Type() == "bool" {
			why = errors.New("allowed is true or false")
		}
		return fmt.Errorf("--%s %q: %w", f.Name, invalid.GetValue(), why)
	case errors.As(err, &nonsense):
		return fmt.Errorf("%q is not a flag", nonsense.GetSpecifiedFlag())
	}
	return err
}

func meantFlag(c *cobra.Command, name string) string {
	known := flagNames(c)
	if word := near.Word(name, known); word != "" {
		return "; did you mean --" + word + "?"
	}
	return ""
}

func flagNames(c *cobra.Command) []string {
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

// length is a flag for a positive duration, which may be in days and weeks.
type length time.Duration

var _ pflag.Value = (*length)(nil)

const aLength = "allowed is a duration above 0s, e.g. 90s, 2h, 1d12h or 1w"

// Set implements pflag.Value.
func (l *length) Set(text string) error {
	d, err := setting.ParseDuration(text)
	if err != nil || d <= 0 {
		return errors.New(aLength)
	}
	*l = length(d)
	return nil
}

// String implements pflag.Value.
func (l *length) String() string {
	if *l == 0 {
		return ""
	}
	return setting.FormatDuration(time.Duration(*l))
}

// Type implements pflag.Value.
func (l *length) Type() string { return "duration" }

// timeoutFlag adds a flag for a timeout.
func timeoutFlag(f *pflag.FlagSet, usage string) *length {
	limit := length(20 * time.Second)
	f.Var(&limit, "timeout", usage)
	return &limit
}

// settle applies the usage errors of this file to a command and all its subcommands.
func settle(c *cobra.Command) {
	c.SetFlagErrorFunc(wrongFlag)
	c.InitDefaultHelpCmd()
	c.InitDefaultCompletionCmd()
	for _, sub := range c.Commands() {
		switch sub.Name() {
		case "completion":
			sub.Args = noSuchCommand
			sub.RunE = missingCommand
			for _, shell := range sub.Commands() {
				shell.Args = takes(0, 0)
			}
		case "help":
			sub.Args = func(_ *cobra.Command, args []string) error {
				if _, rest, err := c.Find(args); err != nil || len(rest) > 0 {
					return noSuchCommand(c, args)
				}
				return nil
			}
		}
	}
}

// missingCommand is run if a command needs a subcommand.
func missingCommand(c *cobra.Command, _ []string) error {
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	slices.Sort(names)
	return fmt.Errorf("a command is missing: %s %s", c.CommandPath(), strings.Join(names, "|"))
}
