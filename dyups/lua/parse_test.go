package lua_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"swallowkeeper/internal/nginxconf"
)

// TestReadsLikeTheGoParser posts bodies made of pieces of good and bad ones, and wants the
// library to take what the strict reader of this project takes, and the same servers of it.
func TestReadsLikeTheGoParser(t *testing.T) {
	n := start(t, options{workers: 1})
	pieces := []string{
		"server ", "server ", "server ", "127.0.0.1:80", "10.0.0.2:8080", "[2001:db8::1]:443", "[::1]", "127.0.0.1", "localhost:81",
		" weight=", "3", "0", "-1", " max_fails=", " max_conns=7", " fail_timeout=", "1m30s", "30s1m", "10", "500ms", "1y2M3w4d5h6m7s",
		" backup", " down", ";", ";", ";", ";\n", " ", "\t", "\r\n", "# x\n", "#", "\"", "'", "\\", "\\n", "{", "}", "${x}", "$x",
		"least_conn;", "ip_hash;", "random", " two", " least_conn", "hash $host;", "keepalive 20;", "keepalive ", "keepalive_timeout 5s;",
		"check interval=1;", "zone z 64k;", "include x;", "unix:/tmp/x", "::1:80", "1.2.3:80", "01.2.3.4:80", ":0", ":65536", "\x00",
		"\xef\xbb\xbf", "\xff", "é", "server 127.0.0.1:1;", "server 127.0.0.1:2 backup;", "server \"127.0.0.1:3\";", "server 10.1.1.1:4 weight=2 down;",
	}
	addrs := []string{
		"10.0.0.1:80", "127.0.0.1", "[2001:DB8:0::1]:443", "[::1]", "localhost:81", "unix:/tmp/x", "1.2.3:80", "[::ffff:1.2.3.4]:80",
	}
	params := []string{
		" weight=3", " max_fails=0", " max_conns=7", " fail_timeout=1m30s", " fail_timeout=2w3", "\tdown", " backup", " 'down'",
		" weight=007", " fail_timeout=", " max_fails=1000", "\n", " weight=2 # x\n", " fail_timeout=1s2s",
	}
	socket := regexp.MustCompile(`unix:\S+`)
	r := rand.New(rand.NewPCG(10, 2))
	taken := 0
	for i := range 6000 {
		var b strings.Builder
		piece := func(of []string) { b.WriteString(of[r.IntN(len(of))]) }
		for range 1 + r.IntN(3) {
			b.WriteString("server ")
			piece(addrs)
			for range r.IntN(3) {
				piece(params)
			}
			if r.IntN(4) == 0 {
				piece(pieces)
			}
			b.WriteString(";")
			if r.IntN(4) == 0 {
				piece(pieces)
			}
		}
		body := b.String()
		_, want, err := nginxconf.ParseBody([]byte(body))
		status, text, h := n.call(http.MethodPost, "/upstream/x", body)
		if reason := h.Get("X-Dyups-Error"); strings.Contains(reason, "unix domain socket") || reason == "a zero byte" {
			continue // no path with a blank or a newline: it would not fit into a line of /detail
		}
		if (status == 200) != (err == nil) || status != 200 && text != "add server failed" {
			t.Fatalf("body %d, %q: %d %q %s; the Go parser: %v", i, body, status, text, h.Get("X-Dyups-Error"), err)
		}
		if err != nil {
			continue
		}
		taken++
		var lines strings.Builder
		for _, s := range want {
			addr := "unix:"
			if s.Addr.IsValid() {
				addr = s.Addr.String()
			}
			flag := map[bool]int{true: 1}
			fmt.Fprintf(&lines, "server %s weight=%d max_conns=%d max_fails=%d fail_timeout=%.0f backup=%d down=%d\n",
				addr, s.Weight, s.MaxConns, s.MaxFails, s.FailTimeout.Seconds(), flag[s.Backup], flag[s.Down])
		}
		_, got, _ := n.call(http.MethodGet, "/detail", "")
		got = socket.ReplaceAllString(got, "unix:") // the Go parser keeps no path
		if got != "x\n"+lines.String()+"\n" {
			t.Fatalf("body %d, %q: %q, want %q", i, body, got, &lines)
		}
	}
	if taken < 300 {
		t.Errorf("only %d bodies were taken: they try little", taken)
	}
}
