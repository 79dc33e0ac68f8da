package status_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

func TestTheSocketIsForTheAccountAndItsGroup(t *testing.T) {
	r := serve(t, statustest.New(), "", status.Parts{})
	info, err := os.Lstat(r.socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeSocket|0o660 {
		t.Errorf("its mode is %s", info.Mode())
	}
	left, err := os.ReadDir(filepath.Dir(r.socket))
	if err != nil || len(left) != 1 {
		t.Errorf("beside it are %v: %v", left, err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(r.socket); !os.IsNotExist(err) {
		t.Errorf("it is still there at the end: %v", err)
	}
}

func TestWhatStandsWhereTheSocketGoes(t *testing.T) {
	unixListener := func(t *testing.T, path string) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		t.Cleanup(func() { l.Close() })
		return l
	}
	for _, c := range []struct {
		name string
		path string // below the folder
		put  func(t *testing.T, path string)
		says string // "": it is taken
	}{
		{"nothing", "s.sock", func(*testing.T, string) {}, ""},
		{"no folder", "a/b/s.sock", func(*testing.T, string) {}, ""},
		{"the socket of a killed process", "s.sock", func(t *testing.T, path string) { unixListener(t, path).Close() }, ""},
		{"that of a live one", "s.sock", func(t *testing.T, path string) { unixListener(t, path) }, "another process answers"},
		{"a file", "s.sock", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is not a socket"},
		{"a folder", "s.sock", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is not a socket"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.path)
			c.put(t, path)
			was, _ := os.Lstat(path)
			s, err := status.Listen(status.Config{Address: "127.0.0.1:0", Socket: path}, statustest.Empty(), status.Parts{})
			if c.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
				t.Fatalf("it says %v", err)
			}
			if is, err := os.Lstat(path); err != nil || !os.SameFile(was, is) {
				t.Errorf("what was there is gone: %v", err)
			}
		})
	}
}

func TestAnotherSiteTakesItsPlace(t *testing.T) {
	r := serve(t, statustest.New(), "", status.Parts{})
	if err := os.Remove(r.socket); err != nil {
		t.Fatal(err)
	}
	next, err := status.Listen(status.Config{Socket: r.socket}, statustest.Empty(), status.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(r.socket); err != nil {
		t.Errorf("the first took the socket of the second away: %v", err)
	}
}

func TestOneAfterTheOtherAtTheSameAddress(t *testing.T) {
	r := serve(t, statustest.New(), "", status.Parts{})
	if a := r.ask(t, r.http, http.MethodGet, "/healthz", ""); a.StatusCode != http.StatusOK {
		t.Fatal(a.Status)
	}
	address := strings.TrimSuffix(strings.TrimPrefix(r.URL(), "http://"), "/")
	c := status.Config{Address: address, Socket: r.socket}
	if _, err := status.Listen(c, statustest.Empty(), status.Parts{}); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("two at one address: %v", err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	next, err := status.Listen(c, statustest.Empty(), status.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
}

// The account that has the socket's folder swaps what is made there for links: nothing gets another mode
// where they lead.
func TestASocketsModeIsSetWhereItIs(t *testing.T) {
	folder, victim := t.TempDir(), filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			made, _ := filepath.Glob(filepath.Join(folder, ".s-*"))
			for _, private := range made {
				if os.Rename(private, filepath.Join(folder, "away")) == nil {
					_ = os.Symlink(filepath.Dir(victim), private)
					_ = os.RemoveAll(filepath.Join(folder, "away"))
				}
			}
		}
	})
	for range 300 {
		s, err := status.Listen(status.Config{Socket: filepath.Join(folder, "sock")}, statustest.Empty(), status.Parts{})
		if err == nil {
			err = s.Close()
		}
		_ = err // it may fail; what counts is the victim
	}
	close(stop)
	swapping.Wait()
	info, err := os.Lstat(victim)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("the other file has mode %s", info.Mode())
	}
}
