package loopback

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestNobodyElseGetsThePort(t *testing.T) {
	t.Parallel()
	l := Listen(t)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	l.Close()
	for _, addr := range []string{Refused(t), l.Addr().String()} {
		if c, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, %v", addr, c, err)
		}
		if other, err := net.Listen("tcp", addr); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s: %v, %v", addr, other, err)
		}
	}
}

// Ports of many calls differ from one another, and from those of a process beside this one for as long as it runs.
func TestFree(t *testing.T) {
	if os.Getenv("PRINT_FREE_PORTS") != "" {
		fmt.Println(strings.Join(Free(t, 500), " "))
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	beside := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFree$")
	beside.Env = append(os.Environ(), "PRINT_FREE_PORTS=1")
	out, err := beside.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := beside.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := beside.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, addr := range strings.Fields(line) {
		seen[addr] = true
	}
	for range 200 {
		for _, addr := range Free(t, 5) {
			if seen[addr] {
				t.Errorf("%s twice", addr)
			}
			seen[addr] = true
		}
	}
	l, err := net.Listen("tcp", Free(t, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	in.Close()
	if err := beside.Wait(); err != nil {
		t.Error(err)
	}
}
