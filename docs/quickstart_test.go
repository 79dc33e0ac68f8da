package docs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/internal/loopback"
	"swallowkeeper/internal/nginxtest"
)

// TestQuickStart types what the README's quick start says, in a folder and on ports of its own, and expects what it shows
// there. "…" stands for anything.
func TestQuickStart(t *testing.T) {
	if !nginxtest.Exists("/usr/sbin/nginx") {
		t.Skip("no nginx is installed here")
	}
	_, section, _ := strings.Cut(read(t, "../README.md"), "\n## Quick start\n")
	section, _, _ = strings.Cut(section, "\n## ")
	here := filepath.Join(t.TempDir(), "quickstart")
	moves := []string{"/tmp/quickstart", here}
	free := loopback.Free(t, 4)
	slices.Sort(free) // what is shown in the order of the ports stays so
	for i, port := range []string{"8001", "8002", "8080", "9180"} {
		_, instead, _ := strings.Cut(free[i], ":")
		moves = append(moves, port, instead)
	}
	moved := strings.NewReplacer(moves...)
	program := filepath.Join(t.TempDir(), "swallowkeeper")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/swallowkeeper").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Whatever the walk left running ends with the test: nothing else has this folder in its command line or its pid file.
	t.Cleanup(func() {
		if text, err := os.ReadFile(filepath.Join(here, "nginx.pid")); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				_ = syscall.Kill(pid, syscall.SIGTERM)
			}
		}
	})
	console := regexp.MustCompile("(?s)```console\n(.*?)```")
	var steps []step
	for _, block := range console.FindAllStringSubmatch(section, -1) {
		steps = append(steps, stepsOf(block[1])...)
	}
	if len(steps) < 10 {
		t.Fatalf("the quick start has %d commands", len(steps))
	}
	for _, s := range steps {
		command := strings.ReplaceAll(moved.Replace(s.command), "bin/swallowkeeper", program)
		switch {
		case strings.HasPrefix(command, "sudo apt-get"), command == "make build": // done
			continue
		case strings.HasPrefix(command, "cp -r demo/quickstart "):
			copied(t, here, moved)
			continue
		}
		if background, is := strings.CutSuffix(command, " &"); is {
			cmd := exec.CommandContext(t.Context(), "bash", "-c", "exec "+background)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Wait() }) // the context has ended it
			continue
		}
		s.expect(t, command, moved.Replace(s.output))
	}
}

// copied is demo/quickstart in a folder of its own.
func copied(t *testing.T, to string, moved *strings.Replacer) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS("../demo/quickstart")); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(to, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := os.WriteFile(file, []byte(moved.Replace(read(t, file))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// step is a command and what it prints.
type step struct{ command, output string }

func stepsOf(block string) (all []step) {
	for line := range strings.Lines(block) {
		if command, is := strings.CutPrefix(line, "$ "); is {
			all = append(all, step{command: strings.TrimSuffix(command, "\n")})
			continue
		}
		all[len(all)-1].output += line
	}
	return all
}

// expect runs a command, again where what it prints needs a moment to become true.
func (s step) expect(t *testing.T, command, output string) {
	t.Helper()
	pattern := regexp.QuoteMeta(output)
	pattern = strings.ReplaceAll(pattern, "…", "(?s:.*)")
	want := regexp.MustCompile("^" + pattern + "$")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	last := ""
	for {
		cmd := exec.CommandContext(ctx, "bash", "-c", command)
		cmd.WaitDelay = time.Second // what it leaves in the background keeps its output open
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if want.Match(out) {
			return
		}
		if ctx.Err() == nil { // else it was killed
			last = fmt.Sprintf("%v\n%s%s", err, out, stderr.Bytes())
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("$ %s: %s\nand not\n%s", s.command, last, output)
		}
	}
}
