// Package packaging has no code: its tests build the packages as `make package` does and
// put them to their use, on a clean Debian in a folder. That takes root.
package packaging

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const (
	first  = "1.0.0"
	second = "1.0.1" // with another example configuration
)

// TestPackage builds once and looks from all sides: for this machine's architecture, or for those of ARCHES, separated
// by spaces. What needs a tool that is not here, or root, is skipped and says so; scripts/setup-tests.sh installs the
// tools.
func TestPackage(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds for a minute and installs into a Debian of its own")
	}
	if runtime.GOOS != "linux" {
		t.Skip("packages are built on Linux")
	}
	arches := strings.Fields(os.Getenv("ARCHES"))
	if len(arches) == 0 {
		arches = []string{runtime.GOARCH}
	}
	repo := commit(t)
	dist := t.TempDir()
	build(t, repo, dist, arches)
	// Another folder, other times and modes of the files, another environment.
	elsewhere := filepath.Join(t.TempDir(), "another", "place")
	run(t, "sh", "-c", `umask 077 && git clone -q --depth 1 --branch "$0" "file://$1" "$2"`,
		"v"+first, repo, elsewhere)
	again := t.TempDir()
	build(t, elsewhere, again, arches, "TZ=Asia/Tokyo", "GOFLAGS=-mod=mod", "GOAMD64=v3")

	t.Run("reproducible", func(t *testing.T) {
		want, got := hashes(t, dist), hashes(t, again)
		if len(want) != 3*len(arches)+1 { // deb, rpm and tar.gz, and the sums
			t.Errorf("built %v", slices.Sorted(maps.Keys(want)))
		}
		if !maps.Equal(want, got) {
			t.Errorf("built elsewhere it differs:\n%v\n%v", want, got)
		}
	})

	t.Run("binaries", func(t *testing.T) { binaries(t, dist, arches) })
	t.Run("contents", func(t *testing.T) { contents(t, dist, arches) })

	example := filepath.Join(repo, "scripts/swallowkeeper.toml")
	write(t, example, read(t, example)+"\n# News of the second version.\n")
	git(t, repo, "commit", "-q", "-a", "-m", "another example")
	git(t, repo, "tag", "v"+second)
	build(t, repo, again, []string{runtime.GOARCH})
	t.Run("deb", func(t *testing.T) { installDeb(t, dist, again) })
	t.Run("rpm", func(t *testing.T) { installRPM(t, dist, again) })
}

// contents holds the packages of all architectures and both formats against one another.
func contents(t *testing.T, dist string, arches []string) {
	tool(t, "dpkg-deb")
	tool(t, "rpm")
	var debs, rpms []string
	for _, arch := range arches {
		out := run(t, "dpkg-deb", "--contents", deb(dist, first, arch))
		debs = append(debs, fields(out, 0, 1, 5)) // without size and time
		path := rpm(dist, first, arch)
		rpms = append(rpms, run(t, "rpm", "-qlp", path))
		run(t, "rpm", "-K", "--nosignature", path)
	}
	if len(slices.Compact(slices.Clone(debs))) != 1 || len(slices.Compact(slices.Clone(rpms))) != 1 {
		t.Errorf("the architectures differ:\n%s\n%s", strings.Join(debs, "\n"), strings.Join(rpms, "\n"))
	}
	for _, want := range []string{
		"-rwxr-xr-x root/root ./usr/bin/swallowkeeper",
		"-rw-r----- root/swallowkeeper ./etc/swallowkeeper.toml",
		"-rw-r--r-- root/root ./usr/lib/systemd/system/swallowkeeper.service",
		"drwxr-xr-x swallowkeeper/swallowkeeper ./var/lib/swallowkeeper/",
		"-rw-r--r-- root/root ./usr/lib/tmpfiles.d/swallowkeeper.conf",
		"-rw-r--r-- root/root ./usr/lib/systemd/system/nginx.service.d/swallowkeeper.conf",
		"-rw-r--r-- root/root ./usr/share/bash-completion/completions/swallowkeeper",
		"-rw-r--r-- root/root ./usr/share/fish/vendor_completions.d/swallowkeeper.fish",
		"-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_swallowkeeper",
		"-rw-r--r-- root/root ./usr/share/man/man1/swallowkeeper.1.gz",
		"-rw-r--r-- root/root ./usr/share/man/man1/swallowkeeper-check.1.gz",
		"-rw-r--r-- root/root ./usr/share/doc/swallowkeeper/copyright",
		"-rw-r--r-- root/root ./usr/share/doc/swallowkeeper/THIRD-PARTY",
		"-rw-r--r-- root/root ./usr/share/doc/swallowkeeper/examples/swallowkeeper.supervisor.conf",
		"-rw-r--r-- root/root ./usr/share/swallowkeeper/lua/dyups.conf",
		"-rw-r--r-- root/root ./usr/share/swallowkeeper/lua/dyups/api.lua",
	} {
		if !strings.Contains(debs[0], want+"\n") {
			t.Errorf("the .deb has no %s:\n%s", want, debs[0])
		}
		_, path, _ := strings.Cut(want, "./")
		path = strings.Replace("/"+strings.TrimSuffix(path, "/"), "vendor-completions", "site-functions", 1)
		if !strings.Contains(rpms[0], path+"\n") {
			t.Errorf("the .rpm has no %s:\n%s", path, rpms[0])
		}
	}
	out := run(t, "rpm", "-qp", "--configfiles", rpm(dist, first, arches[0]))
	if out != "/etc/swallowkeeper.toml\n" {
		t.Errorf("the .rpm's configuration files are %q", out)
	}
}

// binaries says that the tarballs hold the right binaries, and licences for all that is in them.
func binaries(t *testing.T, dist string, arches []string) {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for _, arch := range arches {
		t.Run(arch, func(t *testing.T) {
			name := "swallowkeeper_" + first + "_linux_" + arch
			dir := t.TempDir()
			run(t, "tar", "-C", dir, "-xf", filepath.Join(dist, name+".tar.gz"))
			path := filepath.Join(dir, name, "swallowkeeper")
			file, err := elf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if file.Machine != machines[arch] || file.Section(".interp") != nil {
				t.Errorf("it is for %s, linked dynamically: %t", file.Machine, file.Section(".interp") != nil)
			}
			info, err := buildinfo.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			licences := read(t, filepath.Join(dir, name, "THIRD-PARTY"))
			for _, m := range info.Deps {
				if !strings.Contains(licences, "\n"+m.Path+" "+m.Version+"\n") {
					t.Errorf("no licence of %s %s", m.Path, m.Version)
				}
			}
			if arch == runtime.GOARCH {
				if out := run(t, path, "version"); !strings.HasPrefix(out, "swallowkeeper v"+first+" ") {
					t.Errorf("version prints %q", out)
				}
			}
		})
	}
}

// installDeb installs, uses, upgrades, removes and purges, and looks for what is left.
func installDeb(t *testing.T, dist, upgrade string) {
	root := rootfs(t)
	before := tree(t, root)
	run(t, "cp", deb(dist, first, "amd64"), filepath.Join(root, "1.deb"))
	run(t, "cp", deb(upgrade, second, "amd64"), filepath.Join(root, "2.deb"))

	run(t, "chroot", root, "dpkg", "-i", "/1.deb")
	told(t, root, "daemon-reload")
	inUse(t, root)
	config := filepath.Join(root, "etc/swallowkeeper.toml")
	write(t, config, read(t, config)+"# edited\n")

	// Both have changed it: dpkg asks, and without a terminal is told to keep the old one.
	run(t, "chroot", root, "dpkg", "--force-confold", "-i", "/2.deb")
	told(t, root, "daemon-reload", "try-restart swallowkeeper.service")
	upgraded(t, root)
	if got := read(t, config+".dpkg-dist"); !strings.Contains(got, "News of the second version") {
		t.Errorf("the new example configuration is not beside the old one:\n%s", got)
	}

	run(t, "chroot", root, "dpkg", "--remove", "swallowkeeper")
	told(t, root, "stop swallowkeeper.service", "--no-reload disable swallowkeeper.service", "daemon-reload")
	left := slices.DeleteFunc(added(before, tree(t, root)), administrative)
	t.Logf("remove leaves %v", left)
	want := []string{
		"/etc/swallowkeeper.toml", "/etc/swallowkeeper.toml.dpkg-dist",
		"/var/lib/swallowkeeper", "/var/lib/swallowkeeper/dyups.upstream.conf",
	}
	if !slices.Equal(left, want) {
		t.Errorf("remove leaves %v, want %v", left, want)
	}

	run(t, "chroot", root, "dpkg", "--purge", "swallowkeeper")
	left = added(before, tree(t, root))
	t.Logf("purge leaves the account, and %v", left)
	if left = slices.DeleteFunc(left, administrative); len(left) > 0 {
		t.Errorf("purge leaves %v", left)
	}
	if lost := added(tree(t, root), before); len(lost) > 0 {
		t.Errorf("purge took %v, which were there before", lost)
	}

	// What a purge left is no hindrance to begin anew.
	run(t, "chroot", root, "dpkg", "-i", "/2.deb")
	inUse(t, root)
}

// installRPM does the same with rpm. The Debian in the folder has its dependency, though rpm
// can't know that.
func installRPM(t *testing.T, dist, upgrade string) {
	tool(t, "rpm")
	root := rootfs(t)
	before := tree(t, root)
	in := func(args ...string) string {
		return run(t, "rpm", append([]string{"--root", root, "--nodeps"}, args...)...)
	}
	in("--install", rpm(dist, first, "amd64"))
	told(t, root, "daemon-reload")
	inUse(t, root)
	config := filepath.Join(root, "etc/swallowkeeper.toml")
	write(t, config, read(t, config)+"# edited\n")

	in("--upgrade", rpm(upgrade, second, "amd64"))
	told(t, root, "daemon-reload", "try-restart swallowkeeper.service")
	upgraded(t, root)
	if got := read(t, config+".rpmnew"); !strings.Contains(got, "News of the second version") {
		t.Errorf("the new example configuration is not beside the old one:\n%s", got)
	}

	in("--erase", "swallowkeeper")
	told(t, root, "stop swallowkeeper.service", "--no-reload disable swallowkeeper.service", "daemon-reload")
	left := added(before, tree(t, root))
	t.Logf("erase leaves the account, and %v", left)
	want := []string{
		"/etc/swallowkeeper.toml.rpmnew", "/etc/swallowkeeper.toml.rpmsave",
		"/var/lib/swallowkeeper", "/var/lib/swallowkeeper/dyups.upstream.conf",
	}
	if left = slices.DeleteFunc(left, administrative); !slices.Equal(left, want) {
		t.Errorf("erase leaves %v, want %v", left, want)
	}
}

// inUse holds what is installed against what the unit needs, and does with it what an
// operator does first.
func inUse(t *testing.T, root string) {
	t.Helper()
	if got := run(t, "chroot", root, "id", "-nG", "swallowkeeper"); got != "swallowkeeper\n" {
		t.Errorf("the account's groups are %q", got)
	}
	for path, want := range map[string]string{
		"/etc/swallowkeeper.toml": "640 root:swallowkeeper",
		"/var/lib/swallowkeeper":  "755 swallowkeeper:swallowkeeper",
		"/run/dyups":              "750 root:swallowkeeper", // where nginx makes the socket of its interface
	} {
		if got := run(t, "chroot", root, "stat", "-c", "%a %U:%G", path); got != want+"\n" {
			t.Errorf("%s is %q, want %s", path, got, want)
		}
	}

	const socket = "unix:/run/dyups/dyups.sock"
	for path, want := range map[string]string{
		"etc/swallowkeeper.toml":                 "\naddress = \"" + socket + "\"\n",
		"usr/share/swallowkeeper/lua/dyups.conf": "listen " + socket + ";",
	} {
		if got := read(t, filepath.Join(root, path)); !strings.Contains(got, want) {
			t.Errorf("%s lacks %q", path, want)
		}
	}

	// What it does not understand systemd ignores, with a warning and exit code 0.
	const unit = "/usr/lib/systemd/system/swallowkeeper.service"
	if out := run(t, "chroot", root, "systemd-analyze", "verify", "--man=no", unit); out != "" {
		t.Errorf("verify: %s", out)
	}
	run(t, "chroot", root, "systemctl", "enable", "swallowkeeper")
	wanted := "etc/systemd/system/multi-user.target.wants/swallowkeeper.service"
	if _, err := os.Lstat(filepath.Join(root, wanted)); err != nil {
		t.Error(err)
	}

	// As the account, with neither registry nor gateway there: that is told, and that alone.
	cmd := exec.CommandContext(t.Context(), "chroot", "--userspec=swallowkeeper:swallowkeeper", root,
		"swallowkeeper", "check", "--timeout", "2s", "--set", "gateway.address=http://127.0.0.1:1")
	cmd.Env = []string{"PATH=/usr/bin", "CONSUL_HTTP_ADDR=127.0.0.1:1"}
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 ||
		!strings.Contains(string(out), `path = "/var/lib/swallowkeeper/dyups.upstream.conf"`) ||
		!strings.Contains(string(out), "connection refused") {
		t.Errorf("check ends with %d, want 1, and says:\n%s", code, out)
	}
	// What a daemon would have written meanwhile.
	run(t, "chroot", "--userspec=swallowkeeper:swallowkeeper", root,
		"touch", "/var/lib/swallowkeeper/dyups.upstream.conf")
}

// upgraded wants the second version with the first one's edited configuration.
func upgraded(t *testing.T, root string) {
	t.Helper()
	version := run(t, "chroot", root, "swallowkeeper", "version")
	if !strings.HasPrefix(version, "swallowkeeper v"+second+" ") {
		t.Errorf("version prints %q", version)
	}
	config := read(t, filepath.Join(root, "etc/swallowkeeper.toml"))
	if !strings.HasSuffix(config, "# edited\n") || strings.Contains(config, "second version") {
		t.Errorf("the edited configuration was not kept:\n%s", config)
	}
	owner := run(t, "chroot", root, "stat", "-c", "%a %U:%G", "/etc/swallowkeeper.toml")
	if owner != "640 root:swallowkeeper\n" {
		t.Errorf("the configuration is now %q", owner)
	}
	if out := run(t, "chroot", root, "systemctl", "is-enabled", "swallowkeeper"); out != "enabled\n" {
		t.Errorf("the service is now %q", out)
	}
}

// administrative are the package managers' own notes, and the list of accounts, which grew.
func administrative(path string) bool {
	return regexp.MustCompile(`^/(1\.deb|2\.deb|run/.*|` +
		`var/(lib|log|cache)/(dpkg|rpm|ldconfig|apt|debconf)\b.*|etc/(passwd|group|shadow|gshadow|subuid|subgid)-|etc/\.pwd\.lock|root/\.rpmdb.*)$`).MatchString(path)
}

// TestVersion sorts what git describes with dpkg, which people and rpm agree with.
func TestVersion(t *testing.T) {
	tests := []struct{ name, described, want string }{
		{"no tag", "c28f427", "0.0.0+20231114221320.gc28f427"},
		{"no tag, changed", "c28f427-dirty", "0.0.0+20231114221320.gc28f427.dirty"},
		{"release candidate", "v1.2.3-rc1", "1.2.3~rc1"},
		{"after the candidate", "v1.2.3-rc1-2-gc28f427", "1.2.3~rc1+2.gc28f427"},
		{"second candidate", "1.2.3-rc-2", "1.2.3~rc.2"},
		{"release", "v1.2.3", "1.2.3"},
		{"release, changed", "v1.2.3-dirty", "1.2.3+0.dirty"},
		{"after the release", "v1.2.3-4-gc28f427", "1.2.3+4.gc28f427"},
		{"after the release, changed", "v1.2.3-4-gc28f427-dirty", "1.2.3+4.gc28f427.dirty"},
		{"further after the release", "v1.2.3-10-gc28f427", "1.2.3+10.gc28f427"},
		{"next release", "v1.2.4", "1.2.4"},
	}
	dpkg, _ := exec.LookPath("dpkg")
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := run(t, "./version.sh", test.described, "1700000000"); got != test.want+"\n" {
				t.Errorf("%s is version %q, want %s", test.described, got, test.want)
			}
			if i > 0 && test.name != "second candidate" && dpkg != "" {
				run(t, dpkg, "--compare-versions", tests[i-1].want, "lt", test.want)
			}
		})
	}
	for _, bad := range []string{"", "v1.2", "demo", "v1.2.3 4", "v1.2.3-a_b", "-dirty"} {
		if out, err := exec.CommandContext(t.Context(), "./version.sh", bad, "0").CombinedOutput(); err == nil {
			t.Errorf("%q is a version: %s", bad, out)
		}
	}
}

func TestShellcheck(t *testing.T) {
	tool(t, "shellcheck")
	files, err := filepath.Glob("*.sh")
	maintainer, _ := filepath.Glob("maintainer/*.sh")
	if err != nil || len(files) == 0 || len(maintainer) != 4 {
		t.Fatalf("scripts %v, %v: %v", files, maintainer, err)
	}
	run(t, "shellcheck", append(files, maintainer...)...)
}

// build runs build.sh with nothing in the environment that is not said.
func build(t *testing.T, repo, out string, arches []string, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(repo, "scripts/package/build.sh"))
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "OUT="+out, "VERSION=", "SOURCE_DATE_EPOCH=", "ARCHES="+strings.Join(arches, " "))
	cmd.Env = append(cmd.Env, env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build in %s: %v\n%s", repo, err, text)
	}
}

// commit makes a repository of the first version, out of the files as they are now.
func commit(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name := range strings.Lines(run(t, "git", "-C", "../..", "ls-files", "-co", "--exclude-standard")) {
		name = strings.TrimSuffix(name, "\n")
		from, to := filepath.Join("../..", name), filepath.Join(dir, name)
		info, err := os.Lstat(from)
		if err != nil || !info.Mode().IsRegular() {
			continue // removed, and not yet committed so
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, []byte(read(t, from)), info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "all")
	git(t, dir, "tag", "v"+first)
	return dir
}

func git(t *testing.T, repo string, args ...string) {
	t.Helper()
	as := []string{"-C", repo, "-c", "user.name=test", "-c", "user.email=test@localhost"}
	run(t, "git", append(as, args...)...)
}

// rootfs unpacks a clean Debian.
func rootfs(t *testing.T) string {
	t.Helper()
	tool(t, "debootstrap")
	if os.Geteuid() != 0 {
		t.Skip("not root: it can't install into a folder of its own")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("the Debian in the folder is this machine's, and the package is for amd64")
	}
	cmd := exec.CommandContext(t.Context(), "./rootfs.sh")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	path, err := cmd.Output()
	if err != nil {
		t.Fatalf("rootfs.sh: %v\n%s", err, stderr.String())
	}
	dir := t.TempDir()
	run(t, "tar", "-C", dir, "--numeric-owner", "-xpf", strings.TrimSpace(string(path)))

	// No systemd runs in there: say that one does, and note what it is told.
	if err := os.MkdirAll(filepath.Join(dir, "run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	systemctl := filepath.Join(dir, "usr/bin/systemctl")
	if err := os.Rename(systemctl, systemctl+".real"); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\necho \"$*\" >>/systemctl.log\ncase $1 in\n" +
		"daemon-reload | stop | try-restart) ;;\n*) exec systemctl.real --root=/ \"$@\" ;;\nesac\n"
	if err := os.WriteFile(systemctl, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "systemctl.log"), "")
	return dir
}

// told wants these calls of systemctl since the last time, apart from the test's own.
func told(t *testing.T, root string, want ...string) {
	t.Helper()
	path := filepath.Join(root, "systemctl.log")
	var got []string
	for line := range strings.Lines(read(t, path)) {
		if line = strings.TrimSpace(line); line != "enable swallowkeeper" && line != "is-enabled swallowkeeper" {
			got = append(got, line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("systemd was told %q, want %q", got, want)
	}
	write(t, path, "")
}

// tree lists all paths, sorted, as they are seen inside.
func tree(t *testing.T, root string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		list = append(list, strings.TrimPrefix(path, root))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// added are those of after that are not in before.
func added(before, after []string) []string {
	return slices.DeleteFunc(slices.Clone(after), func(path string) bool {
		_, found := slices.BinarySearch(before, path)
		return found
	})
}

func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for _, path := range tree(t, dir)[1:] {
		sums[path] = fmt.Sprintf("%x", sha256.Sum256([]byte(read(t, dir+path))))
	}
	return sums
}

func deb(dist, version, arch string) string {
	return filepath.Join(dist, "swallowkeeper_"+version+"-1_"+arch+".deb")
}

func rpm(dist, version, arch string) string {
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]
	return filepath.Join(dist, "swallowkeeper-"+version+"-1."+machine+".rpm")
}

// fields keeps some columns of a text.
func fields(text string, columns ...int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		all := strings.Fields(line)
		kept := make([]string, len(columns))
		for i, c := range columns {
			kept[i] = all[c]
		}
		b.WriteString(strings.Join(kept, " ") + "\n")
	}
	return b.String()
}

// tool skips the test where it is not installed.
func tool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("no %s here: scripts/setup-tests.sh installs it", name)
	}
}

// run returns what a command prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { // keeps the mode of what is there
		t.Fatal(err)
	}
}
