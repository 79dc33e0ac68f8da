package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"swallowkeeper/upstream"
)

// A mount whose server is away hangs whoever reads: that is said, nobody waits for it, and there is one who does.
func TestADeadMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openPath(t, "/nowhere/u.d", nil)
		first, second, reads := make(chan struct{}), make(chan struct{}), atomic.Int64{}
		r.disk.collect = func(string) (reading, error) {
			switch reads.Add(1) {
			case 3: // the first set is read twice
				<-first
			case 100:
				<-second
			}
			return reading{files: []source{{path: "/nowhere/u.d/a.toml", text: []byte("[[upstream]]\nname = \"web\"\nservers = [{ address = \"10.0.0.1:80\" }]")}}}, nil
		}
		published := 0
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { ended <- r.Registry.Watch(ctx, func(upstream.Set) { published++ }) }()
		<-time.After(time.Minute)
		if trouble := r.Condition().Trouble; trouble == nil || !strings.Contains(trouble.Error(), "/nowhere/u.d: the system has not read it for 5s") {
			t.Errorf("the trouble is %v", trouble)
		}
		began := time.Now()
		if _, err := r.Explain(t.Context(), "web"); err == nil || time.Since(began) > patience {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if n := reads.Load(); n != 3 || published != 1 {
			t.Errorf("%d reads, %d sets", n, published)
		}
		if n := runtime.NumGoroutine(); n > 20 {
			t.Errorf("%d goroutines", n)
		}
		close(first)
		<-time.After(time.Minute)
		if trouble := r.Condition().Trouble; trouble != nil || published != 1 {
			t.Errorf("when it is back: %v, %d sets", trouble, published)
		}
		reads.Store(99)
		<-time.After(time.Minute)
		began = time.Now()
		cancel()
		if err := <-ended; err != nil || time.Since(began) > parting {
			t.Errorf("it ended after %s: %v", time.Since(began), err)
		}
		close(second)
	})
}

// What moves from one file to another is in one of them all the time, however the files are replaced.
func TestFilesReplacedOneByOne(t *testing.T) {
	file := func(name string, numbers ...int) string {
		text := fmt.Sprintf("[[upstream]]\nname = %q\nservers = [\n", name)
		for _, n := range numbers {
			text += fmt.Sprintf("{ address = \"10.0.0.%d:80\" },\n", n)
		}
		return text + "]\n"
	}
	for name, write := range map[string]func(w *writer, path, text string){
		"in place":        (*writer).write,
		"by rename":       (*writer).replace,
		"rsync, by times": func(w *writer, path, text string) { w.rsync(path, text, 1400*time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &writer{t: t, path: t.TempDir()}
			a, b := filepath.Join(w.path, "a.toml"), filepath.Join(w.path, "b.toml")
			w.write(a, file("web", 1, 2))
			w.write(b, file("web", 3))
			r := openPath(t, w.path, nil)
			if set, err := r.read(t.Context()); err != nil || set.Servers() != 3 {
				t.Fatal(set, err)
			}
			for range 2 {
				write(w, a, file("web", 1))
				done := make(chan struct{})
				go func() {
					defer close(done)
					<-time.After(400 * time.Millisecond)
					write(w, b, file("web", 2, 3))
				}()
				set, err := r.read(t.Context())
				if <-done; err != nil || set.Servers() != 3 {
					t.Errorf("%s, %v", shown(set), err)
				}
				write(w, a, file("web", 1, 2))
				write(w, b, file("web", 3))
				if _, err := r.read(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// rsync writes as rsync -t does: for a while into a hidden file, whose times it sets before it brings it into place.
func (w *writer) rsync(path, text string, takes time.Duration) {
	hidden := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".x7Qp0Z")
	if err := os.WriteFile(hidden, []byte(text[:len(text)/2]), 0o600); err != nil {
		w.t.Error(err)
	}
	<-time.After(takes)
	if err := os.WriteFile(hidden, []byte(text), 0o600); err != nil {
		w.t.Error(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(hidden, old, old); err != nil {
		w.t.Error(err)
	}
	if err := os.Rename(hidden, path); err != nil {
		w.t.Error(err)
	}
}
