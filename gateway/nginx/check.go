package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/route"
)

var (
	emergency = regexp.MustCompile(`\[emerg\] (?:[0-9]+#[0-9]+: )?(.*)`)
	placeOf   = regexp.MustCompile(` in (\S+):[0-9]+$`)
	quoted    = regexp.MustCompile(`"([^"]*)"`)
)

// command wraps a configured command to run where nginx runs.
func (g *Gateway) command(argv []string) []string {
	if g.config.Container == "" {
		return argv
	}
	return slices.Concat([]string{"docker", "exec", g.config.Container}, argv)
}

// run runs a command, for at most the timeout of a call.
func (g *Gateway) run(ctx context.Context, argv []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, g.config.Timeout)
	defer cancel()
	return g.machine.Run(ctx, g.command(argv))
}

// check lets nginx test its configuration. It returns a *[refusal] if nginx refuses the change of one upstream.
func (g *Gateway) check(ctx context.Context, a *attempt) error {
	out, err := g.run(ctx, g.config.Check)
	if err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	m := emergency.FindSubmatch(out)
	if m == nil {
		return checkFails.Err(strings.Join(g.command(g.config.Check), " "), failure(out, err))
	}
	message := strings.TrimSpace(string(m[1]))
	where := ""
	if at := placeOf.FindStringSubmatch(message); at != nil {
		where = at[1]
	}
	shown := safetext.Cut(safetext.Words(message), 300)
	if name := a.upstreamOf(g.config.Dir, where); name != "" {
		err := refusesOurs.Err(name, where, shown)
		if a.changed(name) {
			return &refusal{name: name, err: err}
		}
		return err
	}
	for _, m := range quoted.FindAllStringSubmatch(message, -1) {
		name := m[1]
		if !a.changed(name) {
			name = a.routed(m[1])
		}
		if a.changed(name) { // it uses what will be removed, or defines what will be added
			return &refusal{name: name, err: refusesUse.Err(name, shown)}
		}
	}
	return refusesTheirs.Err(shown)
}

// upstreamOf returns the upstream of a generated file, or "" for other files.
func (a *attempt) upstreamOf(dir, name string) string {
	within, is := strings.CutPrefix(filepath.Clean(name), filepath.Clean(dir)+"/")
	if !is {
		return ""
	}
	_, within, _ = strings.Cut(within, "/")
	for _, f := range a.placed.files {
		if f.path == within {
			return f.of
		}
	}
	return ""
}

// routed returns the changing upstream that has a location of that path, or "".
func (a *attempt) routed(path string) string {
	for u := range a.want.set.All() {
		for _, r := range u.Routes {
			pattern, err := route.ParsePath(r.Path)
			if err == nil && (r.Path == path || pattern.Prefix() == strings.TrimSuffix(path, "/")) && path != "" && a.changed(u.Name) {
				return u.Name
			}
		}
	}
	return ""
}

// failure describes a failed command, with the first line of its output.
func failure(out []byte, err error) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	if len(line) == 0 {
		return err.Error()
	}
	return fmt.Sprintf("%v: %s", err, safetext.Cut(safetext.Words(string(line)), 300))
}
