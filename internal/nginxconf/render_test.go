package nginxconf_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

var (
	first = upstream.Server{
		Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1, MaxFails: 3,
		FailTimeout: 2 * time.Second, Origin: "consul@127.0.0.1:8500",
	}
	second = upstream.Server{
		Addr: netip.MustParseAddrPort("[2001:db8::1]:8080"), Weight: 10, MaxFails: 0, MaxConns: 7,
		FailTimeout: time.Minute, Backup: true, Down: true,
	}
	web = upstream.Upstream{
		Name: "web_b", Canary: "b", Options: upstream.Options{Method: "least_conn", Keepalive: 20},
		Servers: []upstream.Server{first, second},
	}
)

const webBlock = `upstream web_b { # canary b
    least_conn;
    keepalive 20;
    server 10.0.0.1:80 weight=1 max_fails=3 fail_timeout=2s; # consul@127.0.0.1:8500
    server [2001:db8::1]:8080 weight=10 max_fails=0 fail_timeout=60s max_conns=7 backup down;
}
`

const webBody = `least_conn;
keepalive 20;
server 10.0.0.1:80 weight=1 max_fails=3 fail_timeout=2s;
server [2001:db8::1]:8080 weight=10 max_fails=0 fail_timeout=60s max_conns=7 backup down;
`

func TestAppendBlock(t *testing.T) {
	if diff := cmp.Diff(webBlock, string(nginxconf.AppendBlock(nil, web))); diff != "" {
		t.Error(diff)
	}
}

func TestAppendBody(t *testing.T) {
	if diff := cmp.Diff(webBody, string(nginxconf.AppendBody(nil, web))); diff != "" {
		t.Error(diff)
	}
}

// What was not validated does not get into nginx's syntax either.
func TestAppendBlockOfHostileUpstream(t *testing.T) {
	u := upstream.Upstream{
		Name: "x { server 6.6.6.6; } upstream y", Canary: "b\n}",
		Options: upstream.Options{Method: "random; zone z 1m"},
		Servers: []upstream.Server{
			{Origin: "a\n server 6.6.6.6;"},
			{Addr: netip.AddrPortFrom(netip.MustParseAddr("fe80::1%a;b\n"), 80)},
		},
	}
	want := `upstream x___server_6.6.6.6____upstream_y { # canary b%0A%7D
    random_ zone z 1m;
    server 0.0.0.0:0 weight=0 max_fails=0 fail_timeout=0s; # a%0A%20server%206.6.6.6%3B
    server [fe80::1]:80 weight=0 max_fails=0 fail_timeout=0s;
}
`
	if diff := cmp.Diff(want, string(nginxconf.AppendBlock(nil, u))); diff != "" {
		t.Error(diff)
	}
}

func TestParseOfRenderedIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		us := rapid.SliceOfNDistinct(validUpstream(), 0, 5, func(u upstream.Upstream) string { return strings.ToLower(u.Name) }).
			Draw(t, "upstreams")
		var text []byte
		for i, u := range us {
			if i > 0 {
				text = append(text, '\n')
			}
			text = nginxconf.AppendBlock(text, u)

			options, servers, err := nginxconf.ParseBody(nginxconf.AppendBody(nil, u))
			if err != nil {
				t.Fatal(err)
			}
			bare := upstream.Upstream{Name: u.Name, Options: options, Servers: servers, Routes: u.Routes} // a body has none
			if !bare.Same(u) {
				t.Fatalf("body: got %+v, want %+v", bare, u)
			}
		}
		got, err := nginxconf.ParseBlocks(text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if len(got) != len(us) {
			t.Fatalf("got %d upstreams, want %d", len(got), len(us))
		}
		for i := range us {
			if !got[i].Identical(us[i]) {
				t.Fatalf("got %+v, want %+v", got[i], us[i])
			}
		}
	})
}

// No text of a valid upstream leaves its directive: nginx, here a reader that shares
// nothing with the package, finds exactly the words that the upstream stands for.
func TestEveryTextStaysInItsDirective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := validUpstream().Draw(t, "upstream")
		words, directives := 3, 0 // upstream NAME {
		if m := u.Options.Method; m != "" {
			words, directives = words+len(strings.Fields(m)), directives+1
		}
		if u.Options.Keepalive > 0 {
			words, directives = words+2, directives+1
		}
		for _, s := range u.Servers {
			words, directives = words+5, directives+1
			for _, there := range []bool{s.MaxConns > 0, s.Backup, s.Down} {
				if there {
					words++
				}
			}
		}
		got := count(string(nginxconf.AppendBlock(nil, u)))
		want := counts{words: words, ends: directives, opened: 1, closed: 1}
		if got != want {
			t.Fatalf("got %+v, want %+v in\n%s", got, want, nginxconf.AppendBlock(nil, u))
		}
	})
}

type counts struct{ words, ends, opened, closed int }

// count is a tokenizer of its own: blanks, comments, quotes and escapes, ; { and }.
func count(text string) counts {
	var n counts
	inWord, inComment, quote, escaped := false, false, byte(0), false
	for i := range len(text) {
		c := text[i]
		switch {
		case inComment:
			inComment = c != '\n'
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case strings.IndexByte(" \t\r\n", c) >= 0:
			inWord = false
		case c == ';':
			inWord = false
			n.ends++
		case c == '{':
			inWord = false
			n.words++
			n.opened++
		case c == '}':
			inWord = false
			n.closed++
		case !inWord && c == '#':
			inComment = true
		case !inWord:
			n.words++
			inWord = true
			if c == '"' || c == '\'' {
				quote = c
			}
		}
	}
	return n
}

func TestAppendBlockDoesNotAllocate(t *testing.T) {
	us := many(50, 10)
	buf := make([]byte, 0, 1<<20)
	if n := testing.AllocsPerRun(10, func() {
		for _, u := range us {
			buf = nginxconf.AppendBlock(buf[:0], u)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkAppendBlock(b *testing.B) {
	us := many(1000, 10)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = buf[:0]
		for _, u := range us {
			buf = nginxconf.AppendBlock(buf, u)
		}
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkParseBlocks(b *testing.B) {
	var text []byte
	for _, u := range many(1000, 10) {
		text = nginxconf.AppendBlock(text, u)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nginxconf.ParseBlocks(text); err != nil {
			b.Fatal(err)
		}
	}
}
