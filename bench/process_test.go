package bench

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// process is a program that is measured by what the kernel tells of it (Linux).
type process struct {
	cmd   *exec.Cmd
	pid   int
	ended chan struct{} // closed once it has ended and was waited for
}

func startProcess(b *testing.B, cmd *exec.Cmd) *process {
	b.Helper()
	cmd.SysProcAttr = endWithUs()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	p := &process{cmd: cmd, pid: cmd.Process.Pid, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
	}()
	b.Cleanup(p.stop)
	return p
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	<-p.ended
}

// alive fails where the program ended by itself.
func (p *process) alive(b testing.TB) {
	b.Helper()
	select {
	case <-p.ended:
		b.Fatalf("%s ended: %s", p.cmd, p.cmd.ProcessState)
	default:
	}
}

// cpu is the processor time that a process and the children that it waited for have used, in milliseconds. The kernel
// counts it in units of 10 ms.
func cpu(b testing.TB, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatalf("processor time can't be read here, or it has ended: %v", err)
	}
	stat := string(text)
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	var sum float64
	for _, field := range fields[11:15] {
		var ticks float64
		if _, err := fmt.Sscan(field, &ticks); err != nil {
			b.Fatal(err)
		}
		sum += ticks
	}
	return sum * 10
}

// rss is the resident memory in MB.
func rss(b testing.TB, pid int) float64 {
	b.Helper()
	return labelled(b, pid, "status", "VmRSS:") / 1024
}

// written is how many kB a process has had written to disk.
func written(b testing.TB, pid int) float64 {
	b.Helper()
	return labelled(b, pid, "io", "write_bytes:") / 1000
}

func labelled(b testing.TB, pid int, file, name string) float64 {
	b.Helper()
	n, ok := label(pid, file, name)
	if !ok {
		b.Fatalf("no %s in /proc/%d/%s: memory and bytes written can't be read here, or it has ended", name, pid, file)
	}
	return n
}

func label(pid int, file, name string) (n float64, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, name); found {
			_, err := fmt.Sscan(rest, &n)
			return n, err == nil
		}
	}
	return 0, false
}

// usage is what a process had used at a moment.
type usage struct {
	at           time.Time
	cpu, written float64
}

func use(b testing.TB, pid int) usage {
	b.Helper()
	return usage{time.Now(), cpu(b, pid), written(b, pid)}
}

// since is what was used between two moments, and in how many seconds.
func (u usage) since(before usage) (cpu, written, seconds float64) {
	return u.cpu - before.cpu, u.written - before.written, u.at.Sub(before.at).Seconds()
}

// memory takes a process's size five times a second until stopped, for its median: at a single moment it depends on what
// the garbage collector is about.
func memory(p *process) (stop func() []float64) {
	var sizes []float64
	quit := make(chan struct{})
	var taking sync.WaitGroup
	taking.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(200 * time.Millisecond):
				if size, ok := label(p.pid, "status", "VmRSS:"); ok { // else it has just ended
					sizes = append(sizes, size/1024)
				}
			}
		}
	})
	return sync.OnceValue(func() []float64 { close(quit); taking.Wait(); return sizes })
}
