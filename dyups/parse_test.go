package dyups

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"swallowkeeper/upstream"
)

const goodServer = "server 10.0.0.1:80 weight=1 max_conns=0 max_fails=3 fail_timeout=2 backup=0 down=0\n"

func TestParseDetail(t *testing.T) {
	got, err := parseDetail([]byte("web\n" + goodServer +
		"server [2001:db8::1]:8080 weight=5 max_conns=7 max_fails=0 fail_timeout=86400 backup=1 down=1\n\n" +
		"by-hand.example\nserver unix:/run/x.sock weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0\n\n" +
		"none\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Detail{MaxConns: true, Upstreams: []upstream.Upstream{
		{Name: "web", Servers: []upstream.Server{
			{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second},
			{
				Addr: netip.MustParseAddrPort("[2001:db8::1]:8080"), Weight: 5, MaxConns: 7, FailTimeout: 24 * time.Hour,
				Backup: true, Down: true,
			},
		}},
		{Name: "by-hand.example", Servers: []upstream.Server{{Weight: 1, MaxFails: 1, FailTimeout: 10 * time.Second}}},
		{Name: "none"},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestParseDetailWithoutMaxConns(t *testing.T) {
	got, err := parseDetail([]byte("web\n" + strings.Replace(goodServer, "max_conns=0 ", "", 1) + "\n"))
	if err != nil || got.MaxConns || got.Upstreams[0].Servers[0].MaxFails != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseDetailRefuses(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"cut in a line", "web\nserver 10.0.0.1:80 wei", "line 2 has no end"},
		{"cut between lines", "web\n" + goodServer, "the blank line after the last upstream is missing"},
		{"cut after a name", "web\n", "the blank line"},
		{"page", "<html>\n<body>\n\n", `line 3: "<body>" is no server`},
		{"text", "<html>\n\n", `line 2: "<html>" is no name`},
		{"no name", "\n\n", "line 2: the name of an upstream is missing"},
		{"blank in a name without servers", "a b\n\n", "line 2:"},
		{"nul in a name without servers", "a\x00b\n\n", "line 2:"},
		{"two names", "web\nweb2\n\n", `"web2" is no server`},
		{"text behind a server", "web\n" + goodServer + "web2\n\n", `line 3: "web2" is no server`},
		{"carriage return", strings.ReplaceAll("web\n"+goodServer+"\n", "\n", "\r\n"), "line 3:"},
		{"long line", strings.Repeat("a", maxLine+1) + "\n\n", "line 1 has 4097 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseDetail([]byte(tt.body)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// What can't be read of one upstream says nothing of the others.
func TestParseDetailPassesOverWhatIsOdd(t *testing.T) {
	replace := func(old, now string) string { return "odd\n" + strings.Replace(goodServer, old, now, 1) + "\n" }
	tests := []struct{ name, body, odd, why string }{
		{"no address", replace("10.0.0.1:80", ""), "odd", `"" is no address`},
		{"host name", replace("10.0.0.1:80", "example.org:80"), "odd", "is no address"},
		{"no port", replace("10.0.0.1:80", "10.0.0.1"), "odd", "is no address"},
		{"port too high", replace(":80", ":65536"), "odd", "is no address"},
		{"no weight", replace("weight=1 ", ""), "odd", `"weight=" is missing`},
		{"negative", replace("weight=1", "weight=-1"), "odd", "is not a number"},
		{"too high", replace("weight=1", "weight=2147483648"), "odd", "is not a number"},
		{"huge timeout", replace("fail_timeout=2", "fail_timeout=99999999999999999999"), "odd", "is not a number"},
		{"unit", replace("fail_timeout=2", "fail_timeout=2s"), "odd", "is not a number"},
		{"backup 2", replace("backup=0", "backup=2"), "odd", "is not a number from 0 to 1"},
		{"more", replace("down=0", "down=0 x=1"), "odd", "is too much"},
		{"blank at the end", replace("down=0", "down=0 "), "odd", "is too much"},
		{"two blanks", replace("weight=1 ", "weight=1  "), "odd", "is missing"},
		{"max_conns of some", "odd\n" + goodServer + strings.Replace(goodServer, "max_conns=0 ", "", 1) + "\n", "odd", "max_conns"},
		{"the second server alone", "odd\n" + goodServer + "server  weight=1\n\n", "odd", "is no address"},
		{"twins", "odd\n" + goodServer + "\noDD\n" + goodServer + "\n", "odd", "upstreams odd and oDD, which dyups can't tell apart"},
		{"named twice", "odd\n" + goodServer + "\nodd\n" + goodServer + "\n", "odd", "upstreams odd and odd, which dyups can't tell apart"},
		{"blank in a name", "a b\n" + goodServer + "\n", "", ""},
		{"no name", "\n" + goodServer + "\n", "", ""},
		{"a name of two lines", "a\nb\n" + goodServer + "\n", "", ""},
		{"a name like a tag", "<x>\n" + goodServer + "\n", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, body := range []string{tt.body + "web\n" + goodServer + "\n", "web\n" + goodServer + "\n" + tt.body} {
				d, err := parseDetail([]byte(body))
				if err != nil {
					t.Fatal(err)
				}
				all := upstream.NewSet(d.Upstreams)
				if u, ok := all.Get("web"); !ok || u.Servers[0].Addr.String() != "10.0.0.1:80" || len(d.Odd) > 1 {
					t.Errorf("web is not read: %+v", d)
				}
				u, ok := all.Get("odd")
				if ok != (tt.odd != "") || ok && !reflect.DeepEqual(u.Servers, []upstream.Server{{}}) {
					t.Errorf("odd is %+v", u)
				}
				if why := d.Odd[upstream.Key(tt.odd)]; !strings.Contains(why.Why, tt.why) || why.Twins != strings.HasSuffix(tt.why, "tell apart") {
					t.Errorf("it says %+v, want %q", why, tt.why)
				}
			}
		})
	}
}

func TestParseListAndUpstream(t *testing.T) {
	if names, err := parseList([]byte("a\nb\n")); err != nil || len(names) != 2 || names[1] != "b" {
		t.Errorf("%v, %v", names, err)
	}
	if names, err := parseList(nil); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
	if names, err := parseList([]byte("a b\nweb\n\nq\"x\n")); err != nil || len(names) != 1 || names[0] != "web" {
		t.Errorf("%v, %v", names, err)
	}
	for _, bad := range []string{"a", "a\nb", "<!doctype html>\n", "a\n<b>\n"} {
		if _, err := parseList([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	addrs, err := parseUpstream([]byte("server 10.0.0.1:80\nserver unix:/x\nserver [::1]:9\n"))
	if err != nil || len(addrs) != 3 || addrs[1].IsValid() {
		t.Errorf("%v, %v", addrs, err)
	}
	for _, bad := range []string{"server 10.0.0.1:80", "server 10.0.0.1\n", "10.0.0.1:80\n", "server 10.0.0.1:80 \n", "ok\n"} {
		if _, err := parseUpstream([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// renderDetail writes as the module does.
func renderDetail(d Detail) []byte {
	var b bytes.Buffer
	bit := map[bool]int{true: 1}
	for _, u := range d.Upstreams {
		fmt.Fprintf(&b, "%s\n", u.Name)
		for _, s := range u.Servers {
			addr := "unix:/run/some.sock"
			if s.Addr.IsValid() {
				addr = s.Addr.String()
			}
			fmt.Fprintf(&b, "server %s weight=%d ", addr, s.Weight)
			if d.MaxConns {
				fmt.Fprintf(&b, "max_conns=%d ", s.MaxConns)
			}
			fmt.Fprintf(&b, "max_fails=%d fail_timeout=%d backup=%d down=%d\n", s.MaxFails, int(s.FailTimeout/time.Second),
				bit[s.Backup], bit[s.Down])
		}
		b.WriteString("\n")
	}
	return b.Bytes()
}

func TestDetailIsReadAsItIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.IntRange(0, 1<<31-1)
		d := Detail{Upstreams: []upstream.Upstream{}, MaxConns: rapid.Bool().Draw(t, "max_conns")}
		servers := 0
		for i := range rapid.IntRange(0, 5).Draw(t, "upstreams") {
			u := upstream.Upstream{Name: fmt.Sprintf("u%d-%s", i, rapid.StringMatching(`[A-Za-z0-9_.-]{0,20}`).Draw(t, "name"))}
			for range rapid.IntRange(0, 4).Draw(t, "servers") {
				ip := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "ip")))
				s := upstream.Server{
					Addr:   netip.AddrPortFrom(ip, rapid.Uint16().Draw(t, "port")),
					Weight: number.Draw(t, "w"), MaxFails: number.Draw(t, "f"), Backup: rapid.Bool().Draw(t, "b"), Down: rapid.Bool().Draw(t, "d"),
					FailTimeout: time.Duration(number.Draw(t, "t")) * time.Second,
				}
				if d.MaxConns {
					s.MaxConns = number.Draw(t, "c")
				}
				u.Servers = append(u.Servers, s)
				servers++
			}
			d.Upstreams = append(d.Upstreams, u)
		}
		d.MaxConns = d.MaxConns && servers > 0
		got, err := parseDetail(renderDetail(d))
		if err != nil || !reflect.DeepEqual(got, d) {
			t.Fatalf("%v: %+v, want %+v", err, got, d)
		}
	})
}

func FuzzParseDetail(f *testing.F) {
	f.Add([]byte("web\n" + goodServer + "\n"))
	f.Add([]byte("web\n" + goodServer + "\nx\nserver unix:/a weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0\n\n"))
	f.Add([]byte("web\nserver [::1]:80 weight=1 max_fails=1 fail_timeout=10 backup=1 down=1\n\n"))
	f.Add([]byte("<html>\n</html>\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDetail(b)
		if err != nil || len(d.Odd) > 0 {
			return
		}
		if !slices.ContainsFunc(d.Upstreams, func(u upstream.Upstream) bool { return len(u.Servers) > 0 }) {
			d.MaxConns = false // only servers show it, and those of an upstream without a name are passed over
		}
		again, err := parseDetail(renderDetail(d))
		if err != nil || !reflect.DeepEqual(again, d) {
			t.Errorf("%v: %+v, want %+v", err, again, d)
		}
		all := upstream.NewSet(d.Upstreams)
		for u := range all.All() {
			key := upstream.KeyOf(u.Name)
			part, err := parseDetail(blocksOf(b, map[upstream.Key]bool{key: true}))
			if err != nil {
				t.Fatalf("of %s alone: %v", u.Name, err)
			}
			if one, _ := upstream.NewSet(part.Upstreams).Get(u.Name); !reflect.DeepEqual(one, u) {
				t.Errorf("of %s alone: %+v, want %+v", u.Name, one, u)
			}
		}
	})
}

// One upstream of thousands costs a look at the others and no copy of them; what is cut or no list at all is seen.
func TestBlocksOf(t *testing.T) {
	var b bytes.Buffer
	for i := range 5000 {
		fmt.Fprintf(&b, "svc-%d\n%s%s\n", i, goodServer, goodServer)
	}
	names := map[upstream.Key]bool{"svc-77": true}
	var part []byte
	if n := testing.AllocsPerRun(10, func() { part = blocksOf(b.Bytes(), names) }); n > 4 {
		t.Errorf("%g allocations", n)
	}
	if want := "svc-77\n" + goodServer + goodServer + "\n"; string(part) != want {
		t.Errorf("%q, want %q", part, want)
	}
	cut := b.Bytes()[:b.Len()-1]
	for _, broken := range [][]byte{cut, cut[:b.Len()-20], []byte("<html>\n<p>\n\n")} {
		if d, err := parseDetail(blocksOf(broken, names)); err == nil {
			t.Errorf("%.20q: %+v", broken, d)
		}
	}
}

func FuzzParseList(f *testing.F) {
	f.Add([]byte("a\nb\n"))
	f.Add([]byte("a\r\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		names, err := parseList(b)
		if err == nil && len(names) == bytes.Count(b, []byte("\n")) && len(b) > 0 && strings.Join(names, "\n")+"\n" != string(b) {
			t.Errorf("%q: %q", b, names)
		}
	})
}

func FuzzParseUpstream(f *testing.F) {
	f.Add([]byte("server 10.0.0.1:80\nserver [::1]:80\nserver unix:/x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if addrs, err := parseUpstream(b); err == nil && len(addrs) != bytes.Count(b, []byte("\n")) {
			t.Errorf("%q: %v", b, addrs)
		}
	})
}
