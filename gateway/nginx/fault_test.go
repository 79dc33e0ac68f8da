package nginx_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

	"swallowkeeper/gateway/nginx"
	"swallowkeeper/internal/nginxproc"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/upstream"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// says checks an error's words.
func says(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("it says %v, want %q", err, w)
		}
	}
}

// has checks what a gateway shows.
func has(t *testing.T, g *nginx.Gateway, want upstream.Set) {
	t.Helper()
	live, err := g.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := upstream.Diff(live.Set, want); !c.Empty() {
		t.Errorf("it shows %q, want %q", live.Set.Names(), want.Names())
	}
}

// comesToHave waits until a gateway shows it: a real nginx that was stopped hears later of the reload that it was told before,
// and for a moment its old and its new workers answer.
func comesToHave(t *testing.T, g *nginx.Gateway, want upstream.Set) {
	t.Helper()
	until(t, "every worker has it", func() bool {
		live, err := g.Live(t.Context())
		return err == nil && upstream.Diff(live.Set, want).Empty()
	})
}

// leads is the generation that the link leads to.
func (r *rig) leads(t *testing.T) string {
	t.Helper()
	to, err := os.Readlink(r.dir + "/current")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return to
}

// folders are all that is in the folder.
func (r *rig) folders(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(r.dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestGenerationsStay: the last three, what nginx runs, and whatever is not ours.
func TestGenerationsStay(t *testing.T) {
	r := double(t)
	g := r.gateway(t)
	must(t, change(t, g, set(with(t, "web", "127.0.0.1:1"))))
	must(t, os.Mkdir(r.dir+"/generation-2", 0o700)) // somebody else's
	write(t, r.dir+"/generation-2/mine", "x")
	write(t, r.dir+"/notes", "x")
	for i := range 6 {
		must(t, change(t, g, set(with(t, "web", fmt.Sprintf("127.0.0.1:%d", 2+i)), with(t, "same", "127.0.0.1:1"))))
	}
	has(t, g, set(with(t, "web", "127.0.0.1:7"), with(t, "same", "127.0.0.1:1")))
	if got, want := r.folders(t), []string{"current", "generation-2", "generation-6", "generation-7", "generation-8", "notes"}; !slices.Equal(got, want) {
		t.Errorf("there is %q, want %q", got, want)
	}
	// What did not change is one file on the disk.
	one, err := os.Stat(r.dir + "/generation-7/same.upstream.conf")
	must(t, err)
	two, err := os.Stat(r.dir + "/generation-8/same.upstream.conf")
	must(t, err)
	if !os.SameFile(one, two) {
		t.Error("what did not change is written again")
	}
}

// TestWhatIsNotOursIsNotTouched: a folder or file of somebody else's in the link's place stops everything.
func TestWhatIsNotOursIsNotTouched(t *testing.T) {
	for name, put := range map[string]func(t *testing.T, at string){
		"a folder":                func(t *testing.T, at string) { must(t, os.Mkdir(at, 0o700)); write(t, at+"/mine", "x") },
		"a file":                  func(t *testing.T, at string) { write(t, at, "x") },
		"a link elsewhere":        func(t *testing.T, at string) { must(t, os.Symlink("/etc", at)) },
		"a link out of it":        func(t *testing.T, at string) { must(t, os.Symlink("../generation-1", at)) },
		"a link to another thing": func(t *testing.T, at string) { must(t, os.Symlink("generation-01", at)) },
		"a generation of others": func(t *testing.T, at string) {
			must(t, os.Mkdir(filepath.Dir(at)+"/generation-3", 0o700))
			must(t, os.Symlink("generation-3", at))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := double(t)
			g := r.gateway(t)
			must(t, os.Mkdir(r.dir, 0o700))
			put(t, r.dir+"/current")
			before := r.folders(t)
			_, err := g.Live(t.Context())
			says(t, err, r.dir, "not made by swallowkeeper")
			_, err = g.Apply(t.Context(), upstream.Diff(upstream.Set{}, set(with(t, "web", "127.0.0.1:1"))))
			says(t, err, r.dir, "not made by swallowkeeper")
			if after := r.folders(t); !slices.Equal(before, after) || r.count() > 0 || r.checks > 0 {
				t.Errorf("there was %q and is %q, %d reloads, %d checks", before, after, r.count(), r.checks)
			}
		})
	}
}

// TestOperatorsBrokenFile: nginx is not reloaded, what runs goes on, and who has to mend it is told.
func TestOperatorsBrokenFile(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		g := r.gateway(t)
		one := set(with(t, "web", "127.0.0.1:1"))
		must(t, change(t, g, one))
		at, reloads := r.leads(t), r.count()
		write(t, r.theirs+"/broken.conf", "no_such_directive on;\n")
		two := set(with(t, "web", "127.0.0.1:2"))
		err := change(t, g, two)
		says(t, err, `unknown directive "no_such_directive"`, "broken.conf:1", "not swallowkeeper's")
		if r.leads(t) != at || r.count() != reloads || len(r.folders(t)) != 2 {
			t.Errorf("the link leads to %s, it was reloaded %d times, there is %q", r.leads(t), r.count()-reloads, r.folders(t))
		}
		has(t, g, one)
		must(t, os.Remove(r.theirs+"/broken.conf"))
		must(t, change(t, g, two))
		has(t, g, two)
	})
}

// TestAnUpstreamInUseStays: what the operator's own file names can't go; the rest is changed.
func TestAnUpstreamInUseStays(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		g := r.gateway(t)
		must(t, change(t, g, set(with(t, "web", "127.0.0.1:1"), with(t, "api", "127.0.0.1:1"))))
		write(t, r.theirs+"/own.conf", "location /own { proxy_pass http://web; }\n")
		says(t, change(t, g, set(with(t, "api", "127.0.0.1:2"))), "upstream web", "host not found in upstream", "own.conf:1")
		has(t, g, set(with(t, "web", "127.0.0.1:1"), with(t, "api", "127.0.0.1:2")))
		reloads := r.count()
		says(t, change(t, g, set(with(t, "api", "127.0.0.1:2"))), "upstream web") // again and again
		if n := r.count(); n != reloads {
			t.Errorf("for nothing it was reloaded %d times", n-reloads)
		}
		write(t, r.theirs+"/own.conf", "location /own { return 204; }\n")
		must(t, change(t, g, set(with(t, "api", "127.0.0.1:2"))))
		has(t, g, set(with(t, "api", "127.0.0.1:2")))
	})
}

// deafen has nginx ignore signals, or hear them again. The real one is stopped, and hears later what came meanwhile.
func (r *rig) deafen(t *testing.T, deaf bool) {
	t.Helper()
	if r.double != nil {
		r.double.Deafen(deaf)
		return
	}
	signal := syscall.SIGCONT
	if deaf {
		signal = syscall.SIGSTOP
		t.Cleanup(func() { _ = syscall.Kill(r.master(t), syscall.SIGCONT) })
	}
	must(t, syscall.Kill(r.master(t), signal))
}

// TestAnIgnoredHUP: the log's reason says who goes on, and it is tried again.
func TestAnIgnoredHUP(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		g := r.gateway(t)
		one, two := set(with(t, "web", "127.0.0.1:1")), set(with(t, "web", "127.0.0.1:2"))
		must(t, change(t, g, one))
		old := r.crew(t, g)
		r.deafen(t, true)
		err := change(t, g, two)
		says(t, err, "after the reload", "web")
		if err == nil || !slices.ContainsFunc(old, func(id string) bool { return strings.Contains(err.Error(), "worker "+id+" ") }) {
			t.Errorf("it names no worker of %q: %v", old, err)
		}
		live, err := g.Live(t.Context())
		if err != nil || upstream.Diff(live.Set, two).Empty() || upstream.Diff(live.Set, one).Empty() {
			t.Errorf("it may not count as in sync with either: %+v, %v", live, err)
		}
		r.deafen(t, false)
		must(t, change(t, g, two))
		comesToHave(t, g, two)
	})
}

// crew is the workers as a gateway shows them.
func (r *rig) crew(t *testing.T, g *nginx.Gateway) (ids []string) {
	t.Helper()
	live, err := g.Live(t.Context())
	must(t, err)
	for _, w := range live.Workers {
		ids = append(ids, w.ID)
	}
	return ids
}

// TestALostReloadIsMadeUp: it is made up for although nginx refuses all that is new.
func TestALostReloadIsMadeUp(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		g := r.gateway(t)
		must(t, change(t, g, set(with(t, "web", "127.0.0.1:1"))))
		r.deafen(t, true)
		two := set(with(t, "web", "127.0.0.1:2"))
		says(t, change(t, g, two), "web")
		r.deafen(t, false)
		r.tell(func() { r.refuse = "bad" })
		says(t, change(t, g, set(with(t, "web", "127.0.0.1:2"), with(t, "bad", "127.0.0.1:3"))), "bad")
		comesToHave(t, g, two)
	})
}

// TestRestart: the pid file is read anew, and nginx has what the link leads to.
func TestRestart(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		g := r.gateway(t)
		one := set(with(t, "web", "127.0.0.1:1"))
		must(t, change(t, g, one))
		if r.double != nil {
			must(t, r.double.Restart())
		} else {
			must(t, syscall.Kill(r.master(t), syscall.SIGTERM))
			until(t, "nginx ends", func() bool { return !nginxtest.Exists(r.pid) })
			_, err := g.Live(t.Context())
			if err == nil {
				t.Error("nobody answers, and nothing is wrong")
			}
			r.start(t)
		}
		has(t, g, one)
		two := set(with(t, "web", "127.0.0.1:2"))
		must(t, change(t, g, two))
		has(t, g, two)
	})
}

// TestStrangersPID: whoever else has taken over the number gets no signal.
func TestStrangersPID(t *testing.T) {
	t.Run("double", func(t *testing.T) {
		r := double(t)
		pid := r.double.Stranger("sshd")
		file := filepath.Join(t.TempDir(), "pid")
		g := r.gateway(t, func(c *nginx.Config) { c.PID = file })
		for text, want := range map[string]string{
			strconv.Itoa(pid) + "\n": fmt.Sprintf(`pid %d is "sshd", no signal sent`, pid),
			"":                       `holds "", which is no process ID`,
			"-1":                     `holds "-1", which is no process ID`,
			"1\n2":                   "which is no process ID",
			"99999":                  "no process here, no signal sent",
		} {
			write(t, file, text)
			says(t, change(t, g, set(with(t, "web", "127.0.0.1:1"))), want)
		}
		must(t, os.Remove(file))
		says(t, change(t, g, set(with(t, "web", "127.0.0.1:1"))), file)
		if n := r.count(); n > 0 {
			t.Errorf("%d signals were sent", n)
		}
	})
	t.Run("nginx", func(t *testing.T) {
		if !nginxtest.Exists(nginxtest.Nginx) {
			t.Skip("no nginx is installed here")
		}
		r := debian(t)
		other := exec.Command("sleep", "600")
		must(t, other.Start())
		ended := make(chan error, 1)
		go func() { ended <- other.Wait() }()
		t.Cleanup(func() {
			_ = other.Process.Kill()
			<-ended //nolint:errcheck // it was killed
		})
		file := filepath.Join(t.TempDir(), "pid")
		write(t, file, strconv.Itoa(other.Process.Pid))
		g := r.gateway(t, func(c *nginx.Config) { c.PID = file })
		says(t, change(t, g, set(with(t, "web", "127.0.0.1:1"))), fmt.Sprintf(`pid %d is "sleep", no signal sent`, other.Process.Pid))
		select {
		case err := <-ended:
			t.Errorf("it got the signal: %v", err)
			ended <- err
		default:
		}
	})
}

// TestVerifyIsNotIncluded: what to include where is told, and nginx is not reloaded again and again for it.
func TestVerifyIsNotIncluded(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		g := r.gateway(t, func(c *nginx.Config) { c.Verify = strings.TrimSuffix(c.Verify, "generation") + "elsewhere" })
		host := r.between.Addr().String()
		want := set(with(t, "web", "127.0.0.1:1"))
		for range 3 {
			says(t, change(t, g, want), "404", "include current/*.location.conf in the server of "+host)
		}
		if n := r.count(); n != 1 {
			t.Errorf("it was reloaded %d times", n)
		}
		x, err := g.Examine(t.Context())
		if err != nil || len(x.Findings) != 1 || x.Findings[0].Check != "generation-unknown" || x.Folder != r.dir {
			t.Errorf("doctor is told %+v, %v", x, err)
		}
	})
}

// TestLongRequest: an old worker that has one stays, and the reload counts all the same. Too many of them stop reloads.
func TestLongRequest(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		g := r.gateway(t, func(c *nginx.Config) { c.MaxOldWorkers = 2 })
		let := make(chan struct{})
		slow := slowBackend(t, let)
		must(t, change(t, g, set(with(t, "web", slow, "/web/*"))))
		for i := range 3 {
			r.occupy(t, let)
			must(t, change(t, g, set(with(t, "web", slow, "/web/*"), with(t, "api", fmt.Sprintf("127.0.0.1:%d", 2+i)))))
		}
		reloads, at := r.count(), r.leads(t)
		want := set(with(t, "web", slow, "/web/*"))
		says(t, change(t, g, want), "3 old workers are shutting down, max_old_workers is 2", "worker_shutdown_timeout")
		if r.count() != reloads || r.leads(t) != at {
			t.Error("nginx was reloaded, or the link moved")
		}
		close(let)
		until(t, "the old workers end", func() bool { return change(t, g, want) == nil })
		has(t, g, want)
	})
}

// TestReloadsAreApart: the first is made at once, the next when the interval is over.
func TestReloadsAreApart(t *testing.T) {
	r := double(t)
	g := r.gateway(t, func(c *nginx.Config) { c.MinInterval = 600 * time.Millisecond })
	began := time.Now()
	must(t, change(t, g, set(with(t, "web", "127.0.0.1:1"))))
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Logf("the first took %s: the machine is busy", took)
	}
	must(t, change(t, g, set(with(t, "web", "127.0.0.1:2"))))
	if took := time.Since(began); took < 600*time.Millisecond {
		t.Errorf("two reloads within %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	live, err := g.Live(t.Context())
	must(t, err)
	if _, err := g.Apply(ctx, upstream.Diff(live.Set, upstream.Set{})); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the wait outlives its context: %v", err)
	}
}

// TestKilledInBetween: whoever starts next sees what is left to do, wherever the one before was killed.
func TestKilledInBetween(t *testing.T) {
	for name, stop := range map[string]func(t *testing.T, r *rig){
		"between the switch and the check":  func(_ *testing.T, r *rig) { r.say = "killed" },
		"between the check and the reload":  func(_ *testing.T, r *rig) { r.onChange = func() { panic("killed") } },
		"between the reload and its answer": func(t *testing.T, r *rig) { r.onChange = func() { r.deafen(t, true) } },
	} {
		both(t, func(t *testing.T, r *rig) {
			t.Log(name)
			first := r.gateway(t)
			one, two := set(with(t, "web", "127.0.0.1:1"), with(t, "old", "127.0.0.1:1")), set(with(t, "web", "127.0.0.1:2"), with(t, "new", "127.0.0.1:1"))
			must(t, change(t, first, one))
			at := r.leads(t)
			r.tell(func() { stop(t, r) })
			func() {
				defer func() { _ = recover() }()
				_ = change(t, first, two)
			}()
			r.tell(func() { r.say, r.onChange = "", nil })
			r.deafen(t, false)
			if r.leads(t) == at { // the check's failure took the link back, which a kill would not
				must(t, os.Remove(r.dir+"/current"))
				must(t, os.Symlink(copyOf(t, r, at), r.dir+"/current"))
			}
			for _, want := range []upstream.Set{one, two} { // whatever is wanted now
				next := r.gateway(t)
				live, err := next.Live(t.Context())
				must(t, err)
				if upstream.Diff(live.Set, want).Empty() {
					t.Errorf("nobody sees that nginx has something else than it would start with: %q", live.Set.Names())
				}
				must(t, change(t, next, want))
				has(t, next, want)
				for _, has := range r.shown(t) {
					if !upstream.Diff(has, want).Empty() {
						t.Errorf("a worker has %q, want %q", has.Names(), want.Names())
					}
				}
			}
		})
	}
}

// copyOf makes another generation than that, as one that was written and not yet loaded.
func copyOf(t *testing.T, r *rig, at string) string {
	t.Helper()
	const name = "generation-77"
	must(t, os.Mkdir(r.dir+"/"+name, 0o755))
	text, err := os.ReadFile(r.dir + "/" + at + "/generation.location.conf")
	must(t, err)
	write(t, r.dir+"/"+name+"/generation.location.conf", regexp.MustCompile("[0-9a-f]{32}").ReplaceAllString(string(text), strings.Repeat("0", 32)))
	return name
}

// TestChangedByHand: what somebody changes in a generation is not what nginx has, and is written anew.
func TestChangedByHand(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, dir string){
		"another server": func(t *testing.T, dir string) {
			write(t, dir+"/web.upstream.conf", "upstream web { server 127.0.0.1:9; }\n")
		},
		"a location":     func(t *testing.T, dir string) { write(t, dir+"/web.location.conf", "location = /x { return 204; }\n") },
		"a file is gone": func(t *testing.T, dir string) { must(t, os.Remove(dir+"/web.upstream.conf")) },
		"one more": func(t *testing.T, dir string) {
			write(t, dir+"/x.upstream.conf", "upstream x { server 127.0.0.1:9; }\n")
		},
		"all is gone":      func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) },
		"the link is gone": func(t *testing.T, dir string) { must(t, os.Remove(filepath.Dir(dir)+"/current")) },
	} {
		t.Run(name, func(t *testing.T) {
			r := double(t)
			g := r.gateway(t)
			want := set(with(t, "web", "127.0.0.1:1", "/web/*"), with(t, "api", "127.0.0.1:1"))
			must(t, change(t, g, want))
			do(t, r.dir+"/"+r.leads(t))
			live, err := g.Live(t.Context())
			must(t, err)
			if upstream.Diff(live.Set, want).Empty() {
				t.Error("nobody sees it")
			}
			if err := change(t, g, want); err != nil {
				t.Fatal(err)
			}
			has(t, g, want)
		})
	}
}

// TestWithoutTheProcessTable: where nginx's processes can't be seen, its answers alone prove a reload.
func TestWithoutTheProcessTable(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		c := r.config()
		c.PID = ""
		g := nginx.New(c, quiet(), nginx.On(blind{r.faults}))
		for i := range 5 {
			want := set(with(t, "web", fmt.Sprintf("127.0.0.1:%d", 1+i)))
			must(t, change(t, g, want))
			for range 3 { // no old worker answers any more
				for pid, digest := range ask(t, r.addr, 8) {
					if got := r.written(t, digest); !upstream.Diff(got, want).Empty() {
						t.Errorf("worker %s still has %q", pid, got.Names())
					}
				}
			}
			has(t, g, want)
		}
	})
}

// blind is a machine that shows no processes.
type blind struct{ *faults }

func (blind) Processes() nginxproc.Table { return nginxproc.Table{Root: "/nonexistent"} }

// occupy gives an old worker to be a request that lasts until let is closed.
func (r *rig) occupy(t *testing.T, let chan struct{}) {
	t.Helper()
	if r.double != nil {
		for _, w := range r.double.Workers() {
			if !w.Leaving {
				release := r.double.Occupy(w.PID)
				go func() {
					select {
					case <-let:
						release()
					case <-t.Context().Done():
					}
				}()
				return
			}
		}
	}
	began := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		open(t.Context(), r.addr, began)
	}()
	t.Cleanup(func() { <-done })
	<-began
}
