package persist

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/persist/record"
	"swallowkeeper/upstream"
)

// counted is the machine's file system, which counts what is written, and can be full.
type counted struct {
	machine
	bytes, files int
	syncs        int
	room         int  // bytes that are left; negative: no end
	lazy         bool // nothing is synced
}

func (c *counted) Folder(path string) Folder { return countedFolder{c.machine.Folder(path), c} }

func (c *counted) History(path string, create bool) (Folder, error) {
	f, err := c.machine.History(path, create)
	if err != nil {
		return nil, err
	}
	return countedFolder{f, c}, nil
}

type countedFolder struct {
	Folder
	c *counted
}

func (f countedFolder) OpenFile(name string, flag int, perm fs.FileMode) (Handle, error) {
	h, err := f.Folder.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	if flag&os.O_CREATE != 0 {
		f.c.files++
	}
	return countedHandle{h, f.c}, nil
}

func (f countedFolder) Sync() error {
	if f.c.lazy {
		return nil
	}
	return f.Folder.Sync()
}

type countedHandle struct {
	Handle
	c *counted
}

func (h countedHandle) Write(p []byte) (int, error) {
	if h.c.room >= 0 {
		if len(p) > h.c.room {
			n, _ := h.Handle.Write(p[:h.c.room])
			h.c.room = 0
			return n, &fs.PathError{Op: "write", Err: errNoRoom}
		}
		h.c.room -= len(p)
	}
	h.c.bytes += len(p)
	return h.Handle.Write(p)
}

func (h countedHandle) Sync() error {
	h.c.syncs++
	if h.c.lazy {
		return nil
	}
	return h.Handle.Sync()
}

var errNoRoom = fmt.Errorf("no space left on device")

// sharding opens a conf file that is shards from a kilobyte on.
func sharding(t testing.TB, on System, path string, change ...func(*Config)) *File {
	t.Helper()
	log, _ := test.NewNullLogger()
	c := DefaultConfig()
	c.Path, c.ShardAbove = path, "1KB"
	for _, ch := range change {
		ch(&c)
	}
	f, err := OpenOn(on, "one", c, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func service(i int, ports ...int) upstream.Upstream {
	u := upstream.Upstream{Name: fmt.Sprintf("Service-%d", 10000+i), Options: upstream.Options{Keepalive: 20}}
	for _, port := range ports {
		s := upstream.DefaultTemplate().Server()
		s.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), uint16(port))
		s.Origin = "consul@127.0.0.1:8500"
		u.Servers = append(u.Servers, s)
	}
	return u
}

func services(n, servers int) upstream.Set {
	var list []upstream.Upstream
	for i := range n {
		var ports []int
		for j := range servers {
			ports = append(ports, 8000+j)
		}
		list = append(list, service(i, ports...))
	}
	return upstream.NewSet(list)
}

func shardFiles(t testing.TB, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(shardsFolder(path))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func confText(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAManifest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f := sharding(t, machine{}, path)
	g := saved(t, f, generation.Generation{Set: services(40, 2), Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
	text := confText(t, path)
	head, body, _ := strings.Cut(text, "\n\n")
	want := "\n# generation: 1\n# time: 2026-01-02T03:04:05Z\n# digest: sha256:" + g.Digest + "\n# shards: 16"
	if !strings.HasSuffix(head, want) || digest([]byte(body)) != g.Digest {
		t.Errorf("the header is\n%s\nwant it to end with %s", head, want)
	}
	line := regexp.MustCompile("^include " + regexp.QuoteMeta(filepath.Dir(path)) + `/\.u\.conf\.shards/([a-z2-7]{32}\.conf);$`)
	all := map[string]bool{}
	for l := range strings.Lines(body) {
		m := line.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		if m == nil {
			t.Fatalf("%q includes no shard", l)
		}
		all[m[1]] = true
		shard := confText(t, filepath.Join(shardsFolder(path), m[1]))
		if contentName([]byte(shard))+".conf" != m[1] || !strings.HasPrefix(shard, "upstream Service-1") {
			t.Errorf("shard %s is\n%s", m[1], shard)
		}
	}
	if files := shardFiles(t, path); len(files) != len(all) || len(all) < 12 {
		t.Errorf("there are %d files, and %d includes", len(files), len(all))
	}
	is, edited, err := Read(path)
	if err != nil || edited || !is.Set.Identical(g.Set) || is.Digest != g.Digest {
		t.Errorf("it reads back as %+v, edited %v, %v", is, edited, err)
	}
}

// TestAChangeWritesItsShard counts: one change at 5,000 services of 10 servers writes at most 100 kB, history included,
// also while the guard's account has 10,000 lines.
func TestAChangeWritesItsShard(t *testing.T) {
	on := &counted{room: -1, lazy: true}
	path := filepath.Join(t.TempDir(), "u.conf")
	f := sharding(t, on, path, func(c *Config) { c.ShardAbove = DefaultConfig().ShardAbove })
	set := services(5000, 10)
	account := []string{"sum 0"}
	for i := range 10_000 {
		account = append(account, fmt.Sprintf("left service-%d 10.0.0.1:8080 2026-01-02T03:04:05.123456789Z %d - lost", 10000+i/2, i))
	}
	saved(t, f, generation.Generation{Set: set, Guard: account})
	f.Archive()
	for i := range 30 {
		on.bytes, on.files, on.syncs = 0, 0, 0
		u := service(i*100, 1, 2, 3, i+4)
		set = set.With([]upstream.Upstream{u}, nil)
		account = slices.Clone(account)
		account[0] = fmt.Sprintf("sum %d", i)
		account[300*i+1] += " again"
		g := saved(t, f, generation.Generation{Set: set, Guard: account})
		f.Archive()
		if on.bytes > 100_000 || g.Number != i+2 {
			t.Errorf("generation %d wrote %d bytes", g.Number, on.bytes)
		}
		if i == 0 {
			t.Logf("a change writes %d bytes, %d files, %d syncs", on.bytes, on.files, on.syncs)
		}
	}
	is, _, err := Read(path)
	if err != nil || !is.Set.Identical(set) || !slices.Equal(is.Guard, account) {
		t.Errorf("it reads back as another one: %v", err)
	}
	on.bytes, on.files = 0, 0
	saved(t, f, generation.Generation{Set: set, Guard: account})
	if on.bytes > 0 || on.files > 0 {
		t.Errorf("what is there was written: %d bytes", on.bytes)
	}
}

// TestChurn writes 100 changes a second at 1,000 services, joined to 20 decisions, while the guard's account is full.
func TestChurn(t *testing.T) {
	on := &counted{room: -1, lazy: true}
	path := filepath.Join(t.TempDir(), "u.conf")
	f := sharding(t, on, path, func(c *Config) { c.ShardAbove = DefaultConfig().ShardAbove })
	set := services(1000, 10)
	account := []string{"sum 0"}
	for i := range 10_000 {
		account = append(account, fmt.Sprintf("left service-%d 10.0.0.1:8080 2026-01-02T03:04:05.123456789Z %d 2026-01-02T03:04:05.123456789Z", 10000+i/10, i))
	}
	saved(t, f, generation.Generation{Set: set, Guard: account})
	f.Archive()
	on.bytes, on.syncs = 0, 0
	rng := rand.New(rand.NewPCG(1, 2))
	const decisions = 60
	var recorded record.Encoder
	note := func(before, seen upstream.Set, whole bool) int {
		text, err := recorded.Encode(replay.Moment{
			Input: guard.Input{Accepted: before, Seen: seen, Now: time.Unix(1, 0)}, Limits: guard.DefaultConfig(), Result: seen,
		}, whole)
		if err != nil {
			t.Fatal(err)
		}
		return len(text)
	}
	note(set, set, true)
	inRecord := 0
	for n := range decisions {
		account = slices.Clone(account)
		account[0] = fmt.Sprintf("sum %d", n)
		var put []upstream.Upstream
		for range 5 {
			i := rng.IntN(1000)
			u, _ := set.Get(service(i).Name)
			u.Servers = slices.Clone(u.Servers)
			u.Servers[rng.IntN(len(u.Servers))].Weight = 1 + rng.IntN(100)
			put = append(put, u)
			account[1+i*10+rng.IntN(10)] = fmt.Sprintf("left service-%d 10.0.0.1:8080 2026-01-02T03:04:06.123456789Z %d -", 10000+i, n)
		}
		before := set
		set = set.With(put, nil)
		saved(t, f, generation.Generation{Set: set, Guard: account})
		f.Archive()
		inRecord += note(before, set, false)
	}
	rate := float64(on.bytes+inRecord) / decisions * 20 / 1e6
	t.Logf("%.2f MB/s at 20 decisions a second, %.2f of them in the record, %d syncs each", rate, float64(inRecord)/decisions*20/1e6, on.syncs/decisions)
	if rate > 2 {
		t.Errorf("%.2f MB/s are written", rate)
	}
}

// TestAReaderSharesWhatIsTheSame: a list of the whole history parses each shard once.
func TestAReaderSharesWhatIsTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f := sharding(t, machine{}, path)
	set := services(60, 2)
	for n := range 3 {
		saved(t, f, generation.Generation{Set: set})
		f.Archive()
		set = set.With([]upstream.Upstream{service(7, n+1)}, nil)
	}
	r := NewReader(path)
	defer r.Close()
	three, err := r.Read(3)
	if err != nil {
		t.Fatal(err)
	}
	for n := 2; n > 0; n-- {
		g, err := r.Read(n)
		if err != nil {
			t.Fatal(err)
		}
		alike := 0
		for a, b := range upstream.Pairs(three.Set, g.Set) {
			if a.Name == b.Name && &a.Servers[0] == &b.Servers[0] {
				alike++
			}
		}
		if alike < 50 || alike == 60 {
			t.Errorf("generations 3 and %d share %d upstreams", n, alike)
		}
	}
}
