package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"swallowkeeper/status"

	"golang.org/x/sys/unix"
)

// pipe is one whose ends are closed with the test.
func pipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close(); writer.Close() })
	return reader, writer
}

// fill writes into a pipe until it takes no more, and leaves it to block whoever writes next.
func fill(t *testing.T, writer *os.File) {
	t.Helper()
	fd := int(writer.Fd()) // this makes it a blocking one
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{4096, 1} {
		var err error
		for err == nil {
			_, err = unix.Write(fd, make([]byte, size))
		}
		if !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
}

// The daemon ended with SIGPIPE when the reader of its log went away.
func TestTheLogStopsNobody(t *testing.T) {
	t.Parallel()
	cases := map[string]func(t *testing.T) (change func(*exec.Cmd), then func()){
		"its reader goes away": func(t *testing.T) (func(*exec.Cmd), func()) {
			reader, writer := pipe(t)
			return func(c *exec.Cmd) { c.Stderr, c.Stdout = writer, writer }, func() { writer.Close(); reader.Close() }
		},
		"its reader never reads": func(t *testing.T) (func(*exec.Cmd), func()) {
			_, writer := pipe(t)
			fill(t, writer)
			return func(c *exec.Cmd) { c.Stderr, c.Stdout = writer, writer }, func() {}
		},
		"its disk is full": func(t *testing.T) (func(*exec.Cmd), func()) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Skip("no /dev/full here")
			}
			t.Cleanup(func() { full.Close() })
			return func(c *exec.Cmd) { c.Stderr = full }, func() {}
		},
		"standard error is closed": func(*testing.T) (func(*exec.Cmd), func()) {
			return func(c *exec.Cmd) {
				c.Args = append([]string{"sh", "-c", `exec "$0" "$@" 2>&-`, c.Path}, c.Args[1:]...)
				c.Path = "/bin/sh"
			}, func() {}
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t).configure()
			r.up("a", "10.0.0.1:80")
			change, then := prepare(t)
			d := r.processWith(change, nil)
			r.inSync(want{"a": "10.0.0.1:80"})
			then()
			for _, addr := range []string{"10.0.0.2:80", "10.0.0.3:80"} {
				r.up("a", addr)
				eventually(t, patience, addr+" is pushed", func() bool { return strings.Contains(r.addresses(r.read().Set)["a"], addr) })
			}
			r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80"})
			if code := d.stop(); code != status.ExitInSync {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestAPassIsCompleteThoughNobodyReadsIt(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.up("a", "10.0.0.1:80")
	reader, writer := pipe(t)
	reader.Close()
	d := r.processWith(func(c *exec.Cmd) { c.Stderr, c.Stdout = writer, writer }, nil, "--sync-once")
	if code := d.wait(); code != status.ExitInSync {
		t.Errorf("exit code %d", code)
	}
	r.inSync(want{"a": "10.0.0.1:80"})
}

// What is usual for a command whose reader has seen enough.
func TestACommandEndsQuietlyWithItsReader(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.up("a", "10.0.0.1:80")
	r.daemon()
	r.inSync(want{"a": "10.0.0.1:80"})
	reader, writer := pipe(t)
	reader.Close()
	d := r.processWith(func(c *exec.Cmd) { c.Stdout = writer }, nil, "status")
	if code := d.wait(); code != -1 { // by the signal
		t.Errorf("exit code %d", code)
	}
	if said := d.log.String(); said != "" {
		t.Errorf("it says %q", said)
	}
}
