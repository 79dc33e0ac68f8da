package persist_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/internal/logs"
	"swallowkeeper/persist"
	"swallowkeeper/upstream"
)

// childRole names in a process's environment which part of a test it plays.
const childRole = "PERSIST_TEST_ROLE"

// child starts this test binary as another process. It is gone when the test ends.
func child(t *testing.T, role, path string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, path)
	cmd.Env = append(os.Environ(), childRole+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // its end tells the child that we are gone
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill(t, cmd)
		_ = stdin.Close()
	})
	return cmd, bufio.NewReader(out)
}

func runChild() int {
	path := os.Args[1]
	var err error
	switch role := os.Getenv(childRole); role {
	case "hold":
		err = hold(path)
	case "save":
		err = saveForever(path)
	case "save once":
		err = saveOnce(path)
	case "freeze":
		err = freezeOnce(path)
	case "save and check":
		err = saveForever(path, "true")
	case "save shards":
		err = saveShards(path)
	case "save shards and check":
		err = saveShards(path, "true")
	case "check hangs":
		err = checkHangs(path)
	case "writable":
		c := persist.DefaultConfig()
		c.Path = path
		err = persist.Writable(c)
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func hold(path string) error {
	if _, _, err := open(path); err != nil {
		return err
	}
	fmt.Println("open")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

// checkHangs says that its check runs, which ends soon after this process does.
func checkHangs(path string) error {
	running := path + ".running"
	script := `touch "$1"; while kill -0 "$2" 2>/dev/null; do sleep 0.05; done; rm -f "$1"`
	f, _, err := open(path, "sh", "-c", script, "sh", running, strconv.Itoa(os.Getpid()))
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		_, err := f.Save(context.Background(), generation.Generation{Set: set(2, 1)})
		done <- err
	}()
	for tick := time.NewTicker(time.Millisecond); ; {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			if _, err := os.Stat(running); err == nil {
				fmt.Println("checking")
				return <-done
			}
		}
	}
}

func saveOnce(path string) error {
	f, _, err := open(path)
	if err != nil {
		return err
	}
	if _, err := f.Save(context.Background(), generation.Generation{Set: set(1, 1)}); err != nil {
		return err
	}
	fmt.Println("saved")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

// freezeOnce freezes everything at what is there.
func freezeOnce(path string) error {
	f, _, err := open(path)
	if err != nil {
		return err
	}
	g, err := f.Load()
	if err != nil {
		return err
	}
	g.Frozen = []generation.Freeze{{}}
	if _, err := f.Save(context.Background(), g); err != nil {
		return err
	}
	fmt.Println("saved")
	return nil
}

func saveForever(path string, check ...string) error {
	f, _, err := open(path, check...)
	if err != nil {
		return err
	}
	fmt.Println("open")
	for {
		if _, err := f.Save(context.Background(), generation.Generation{Set: set(1+rand.IntN(100), 1+rand.IntN(10))}); err != nil {
			return err
		}
	}
}

// saveShards goes to and fro over the size from which on the file is a manifest of shards, and has notes of all lengths.
func saveShards(path string, check ...string) error {
	c := persist.DefaultConfig()
	c.Path, c.ShardAbove, c.Check = path, "20KB", check
	f, err := persist.Open(c, logs.Silent())
	if err != nil {
		return err
	}
	fmt.Println("open")
	for {
		g := generation.Generation{Set: set(1+rand.IntN(200), 1+rand.IntN(4)), Guard: []string{"sum 0"}}
		for i := range rand.IntN(300) {
			g.Guard = append(g.Guard, fmt.Sprintf("left service-%d 10.0.0.1:80 %d", i, rand.IntN(2)))
		}
		for range 5 {
			if _, err := f.Save(context.Background(), g); err != nil {
				return err
			}
			f.Archive()
			g.Set = g.Set.With([]upstream.Upstream{slices.Collect(set(1, 1+rand.IntN(50)).All())[0]}, nil)
			g.Guard = slices.Clone(g.Guard)
			g.Guard[rand.IntN(len(g.Guard))] = "sum 1"
		}
	}
}

// Killed at any moment, a writer leaves a whole file, and a reader never sees another.
func TestKilledAtAnyMoment(t *testing.T) {
	for _, role := range []string{"save", "save and check", "save shards", "save shards and check"} {
		t.Run(role, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "u.conf")
			reads, last := 0, 0
			read := func() {
				g, edited, err := persist.Read(path)
				switch {
				case err != nil || edited:
					t.Fatalf("read %d: edited %v, %v", reads, edited, err)
				case g.Number == 0 && last > 1:
					t.Fatal("the file is gone")
				case !strings.HasSuffix(role, "check") && g.Number < last: // an unchecked one may give way
					t.Fatalf("generation %d follows %d", g.Number, last)
				}
				reads, last = reads+1, g.Number
			}
			// On a busy machine many are killed before they have written anything, or before the first of all was checked:
			// that gives way to no file.
			for i := 0; i < 15 || last < 2 && i < 300; i++ {
				cmd, out := child(t, role, path)
				if line, err := out.ReadString('\n'); err != nil || line != "open\n" {
					t.Fatalf("the writer said %q, %v", line, err)
				}
				stop := time.After(time.Duration(1+rand.IntN(40)) * time.Millisecond)
				for running := true; running; {
					read()
					select {
					case <-stop:
						running = false
					default:
					}
				}
				kill(t, cmd)
				read()
			}
			f, _ := opened(t, path)
			load(t, f)
			if temps, _ := filepath.Glob(filepath.Join(dir, ".u.conf.*", ".tmp-*")); len(temps) > 0 {
				t.Errorf("found %q", temps)
			}
			for _, n := range numbers(t, path) {
				if g, err := persist.ReadGeneration(path, n); err != nil || g.Set.Len() == 0 {
					t.Errorf("generation %d comes back with %d upstreams, %v", n, g.Set.Len(), err)
				}
			}
			if got := files(t, dir); !slices.Equal(got, []string{"u.conf"}) {
				t.Errorf("found %q", got)
			}
			if reads < 100 || last < 2 {
				t.Errorf("only %d reads, up to generation %d", reads, last)
			}
			t.Logf("%d reads, up to generation %d", reads, last)
		})
	}
}
