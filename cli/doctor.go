package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"swallowkeeper/doctor"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/operate"
	"swallowkeeper/status"
)

// doctorFlags are the flags of the doctor.
type doctorFlags struct {
	nginx, conf string
	output      *format
	timeout     *length
}

func (p *program) doctorCommand() *cobra.Command {
	var f doctorFlags
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find common problems in nginx's configuration, the gateways and the registries",
		Long: `doctor reads nginx's whole configuration as printed by nginx -T, queries each gateway and
each registry, and looks for common problems. For each it tells what is wrong, where, why it
matters, and the line to change. It changes nothing, and may run beside the daemon.
docs/doctor.md explains each finding.

It exits with 0 if there are no problems (warnings and hints do not count), 1 if there are,
or if something could not be examined, and 2 on wrong usage or configuration.`,
		Example: `  swallowkeeper doctor                                                 as root, on nginx's machine
  docker exec nginx nginx -T | swallowkeeper doctor --nginx-conf -     if nginx runs in a container
  swallowkeeper doctor --output json`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.validate(); err != nil {
				return err
			}
			return p.doctor(cmd.Context(), f, cmd.InOrStdin())
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.nginx, "nginx", "nginx", "the nginx to run, by name or `PATH`")
	flags.StringVar(&f.conf, "nginx-conf", "", "read this `FILE` instead of running nginx: what nginx -T "+
		"printed (- is standard input), or an nginx.conf")
	f.output = outputFlag(c, "")
	f.timeout = timeoutFlag(flags, "how long to wait for nginx, the gateways and the registries")
	_ = c.MarkFlagFilename("nginx-conf", "conf")
	return c
}

func (f doctorFlags) validate() error {
	if f.conf != "" && f.conf != "-" {
		file, err := os.Open(f.conf)
		if err != nil {
			return fmt.Errorf("--nginx-conf: %w", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.IsDir() {
			return fmt.Errorf("--nginx-conf %s is a directory: name the file, e.g. %s", f.conf,
				filepath.Join(f.conf, "nginx.conf"))
		}
	}
	return nil
}

func (p *program) doctor(ctx context.Context, f doctorFlags, stdin io.Reader) error {
	cfg, err := p.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*f.timeout))
	defer cancel()
	facts, found, err := p.offline(cfg, "error").Examine(ctx, doctor.NginxSource{Program: f.nginx, File: f.conf, Stdin: stdin})
	if err != nil {
		return err
	}
	found = doctor.Sort(append(found, doctor.Examine(facts)...))
	code := status.ExitInSync
	if doctor.Failed(found) {
		code = status.ExitFailed
	}
	if found == nil {
		found = []doctor.Finding{}
	}
	if *f.output != asText {
		err = f.output.encode(p.stdout, findings{code, found})
	} else {
		printFindings(p.stdout, found, newPalette(p.isTerminal(p.stdout)))
	}
	switch {
	case err != nil:
		return operate.Exit(status.ExitFailed, err)
	case code != status.ExitInSync:
		return operate.Exit(code, operate.ErrReported)
	}
	return nil
}

// mostPlaces is how many places of a finding are shown.
const mostPlaces = 20

// printFindings prints findings for people: what and where on one line, then why, then the change to make.
func printFindings(w io.Writer, found []doctor.Finding, c palette) {
	count := map[doctor.Severity]int{}
	for _, f := range found {
		count[f.Severity]++
		mark := string(f.Severity)
		switch f.Severity {
		case doctor.Problem, doctor.Unknown:
			mark = c.bad(mark)
		default:
			mark = c.name(mark)
		}
		fmt.Fprintf(w, "%s: %s [%s]\n", mark, safetext.Line(f.What), f.Check)
		for i, place := range f.Places {
			if i == mostPlaces {
				fmt.Fprintf(w, "          and %d more (--output json names all)\n", len(f.Places)-i)
				break
			}
			fmt.Fprintf(w, "  %-7s %s\n", []string{"where:", ""}[min(i, 1)], safetext.Line(place))
		}
		fmt.Fprintf(w, "  why:    %s\n", safetext.Line(f.Why))
		if f.Now != "" {
			fmt.Fprintf(w, "  now:    %s\n", c.out(safetext.Line(f.Now)))
		}
		if f.Change != "" {
			fmt.Fprintf(w, "  change: %s\n", c.in(safetext.Line(f.Change)))
		}
		fmt.Fprintln(w)
	}
	if len(found) == 0 {
		fmt.Fprintln(w, c.good("nothing found"))
		return
	}
	fmt.Fprintf(w, "problems: %d, not examined: %d, warnings: %d, hints: %d\n",
		count[doctor.Problem], count[doctor.Unknown], count[doctor.Warning], count[doctor.Hint])
}

// findings is the machine-readable output.
type findings struct {
	ExitCode int              `json:"exit_code"`
	Findings []doctor.Finding `json:"findings"`
}
