package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestEveryHelpHasExamples, which are of the command, and of flags that it has.
func TestEveryHelpHasExamples(t *testing.T) {
	t.Parallel()
	root := (&program{}).root()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "help" || c.Name() == "completion" {
			return // cobra's, with theirs
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.Long == "" || c.Example == "" {
			t.Errorf("%s: its help has no examples, or says nothing", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			_, command, found := strings.Cut(strings.TrimSpace(line), "swallowkeeper ")
			command, _, _ = strings.Cut(command, " | ")
			command, _, _ = strings.Cut(command, "     ")
			for strings.Contains(command, "-- swallowkeeper ") {
				_, command, _ = strings.Cut(command, "-- swallowkeeper ")
			}
			of, rest, err := root.Find(strings.Fields(strings.ReplaceAll(command, "'", "")))
			if !found || err != nil {
				t.Errorf("%s: %q is no example: %v", c.CommandPath(), line, err)
				continue
			}
			if err := of.ParseFlags(rest); err != nil {
				t.Errorf("%s: %q: %v", c.CommandPath(), line, err)
				continue
			}
			if err := of.ValidateArgs(of.Flags().Args()); err != nil {
				t.Errorf("%s: %q: %v", c.CommandPath(), line, err)
			}
		}
	}
	walk(root)
}

// TestTheDocumentsHaveEveryCommand holds the table of commands and both READMEs to the help.
func TestTheDocumentsHaveEveryCommand(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	table := read("../docs/commands.md")
	root := (&program{}).root()
	for _, c := range root.Commands() {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		said := regexp.MustCompile(`(?m)^swallowkeeper .*\b` + regexp.QuoteMeta(c.Name()) + `\b`)
		for _, path := range []string{"../README.md", "../README.zh-CN.md"} {
			if !said.MatchString(read(path)) {
				t.Errorf("%s does not have the command %s", path, c.Name())
			}
		}
		if c.Flags().Lookup("socket") == nil {
			continue // nothing that is asked of the daemon
		}
		if use := "| `" + strings.ReplaceAll(c.Use, "|", `\|`) + "` |"; !strings.Contains(table, use) {
			t.Errorf("docs/commands.md has no %s", use)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if root.PersistentFlags().Lookup(f.Name) == nil && !regexp.MustCompile("--"+f.Name+`\b`).MatchString(table) {
				t.Errorf("docs/commands.md does not have --%s of %s", f.Name, c.Name())
			}
		})
	}
}

func TestLengths(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for given, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1d": day, "1w": 7 * day, "1d12h": 36 * time.Hour, "1w2d3h4m5s": 9*day + 3*time.Hour + 4*time.Minute + 5*time.Second,
		"1.5d": 36 * time.Hour, "2h0m0s": 2 * time.Hour, "500ms": 500 * time.Millisecond,
	} {
		var l length
		if err := l.Set(given); err != nil || time.Duration(l) != want {
			t.Errorf("%s is %s, %v; want %s", given, time.Duration(l), err, want)
		}
		var again length
		if err := again.Set(l.String()); err != nil || again != l {
			t.Errorf("%s is written as %s: %v", given, l.String(), err)
		}
	}
}
