package nginxproc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestWorkers: who is a worker of a master, by its parent and its title.
func TestWorkers(t *testing.T) {
	root := t.TempDir()
	process := func(pid, parent int, name, state, title, status string) {
		dir := filepath.Join(root, strconv.Itoa(pid))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{
			"stat": fmt.Sprintf("%d (%s) %s %d 1 1", pid, name, state, parent), "cmdline": title + "\x00\x00", "comm": name + "\n",
			"status": fmt.Sprintf("PPid:\t%d\n%s", parent, status),
		} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	process(10, 1, "nginx", "S", "nginx: master process /usr/sbin/nginx", "")
	process(22, 10, "nginx", "S", "nginx: worker process", "NSpid:\t22\n")
	process(21, 10, "nginx", "S", "nginx: worker process is shutting down", "")
	process(23, 10, "a) S 7 (b", "T", "nginx: worker process", "")
	process(24, 10, "nginx", "S", "nginx: cache manager process", "")
	process(25, 10, "nginx", "S", "nginx: master process /usr/sbin/nginx", "") // forked a moment ago
	process(26, 10, "nginx", "Z", "", "")
	process(30, 1, "nginx", "S", "nginx: worker process", "NSpid:\t30\t4\n") // of a container
	process(31, 40, "nginx", "S", "nginx: worker process", "")
	process(40, 1, "sshd", "S", "/usr/sbin/sshd", "")
	if err := os.Mkdir(filepath.Join(root, "sys"), 0o700); err != nil {
		t.Fatal(err)
	}
	table := Table{Root: root}
	workers, err := table.Workers(10)
	if got := fmt.Sprint(workers); err != nil || got != "[{21 true false} {22 false false} {23 false true}]" {
		t.Errorf("the workers are %s, %v", got, err)
	}
	for worker, want := range map[int]int{22: 10, 21: 10, 24: 0, 30: 0, 31: 0, 10: 0, 99: 0} {
		if master, err := table.Master(worker); (err == nil) != (want > 0) || want > 0 && master != want {
			t.Errorf("the master of %d is %d, %v", worker, master, err)
		}
	}
	for _, pid := range []int{40, 22, 99} {
		if _, err := table.Workers(pid); err == nil {
			t.Errorf("%d is no master, and has workers", pid)
		}
	}
	for pid, want := range map[int]bool{22: true, 23: true, 21: false, 24: false, 10: false, 40: false, 99: false} {
		if table.Takes(pid) != want {
			t.Errorf("%d takes connections: %t", pid, !want)
		}
	}
	if name, err := table.Name(40); name != "sshd" || err != nil {
		t.Errorf("40 is %q, %v", name, err)
	}
}
