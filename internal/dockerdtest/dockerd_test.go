package dockerdtest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestStart: a container runs, and what enters it does, too.
func TestStart(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a dockerd")
	}
	d := Start(t)
	id := d.Docker("run", "--detach", Checked)
	d.Docker("exec", id, "/app", "health")
}

// plainChroot runs a program in a root folder that is no mount, with all that the machine has in it.
const plainChroot = `set -e
root=$1
shift
for d in /*; do
	if [ -L "$d" ]; then
		cp -P "$d" "$root$d"
	elif [ -d "$d" ]; then
		mkdir "$root$d"
		mount --rbind "$d" "$root$d"
	fi
done
exec chroot "$root" "$@"`

// TestStartInAPlainChroot does it where a dockerd can unpack nothing by itself.
func TestStartInAPlainChroot(t *testing.T) {
	if testing.Short() || os.Getuid() != 0 {
		t.Skip("it starts a dockerd, as root")
	}
	if !rootIsMounted() {
		t.Log("this is one: TestStart has shown it")
		return
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation", "private", "sh", "-c", plainChroot, "sh", t.TempDir(),
		"sh", "-c", `cd "$1" && ! grep -q " / / " /proc/self/mountinfo && exec "$2" -test.run '^TestStart$' -test.v`, "sh", here, os.Args[0])
	out, err := c.CombinedOutput()
	if strings.Contains(string(out), "--- SKIP: TestStart") {
		t.Skipf("%s", out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestStart") {
		t.Errorf("%v\n%s", err, out)
	}
}
