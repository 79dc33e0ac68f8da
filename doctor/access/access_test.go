package access_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/doctor/access"
)

// TestTheDocumentedTable judges each configuration of docs/doctor.md's table.
func TestTheDocumentedTable(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "doctor.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "| In `http` | In `server` | Told | Why |\n| --- | --- | --- | --- |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")
	if len(rows) < 30 {
		t.Fatalf("docs/doctor.md has %d rows", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "|"), "|")
		if len(cells) != 4 {
			t.Fatalf("row %s", row)
		}
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		tree := parse(t, fmt.Sprintf("%s server { listen 18882; %s location / { dyups_interface; } }", cells[0], cells[1]))
		if got := access.Who(tree, find(tree, "dyups_interface")); got.Reach.String() != cells[2] {
			t.Errorf("%s | %s: %s, documented as %s (%+v)", cells[0], cells[1], got.Reach, cells[2], got)
		}
	}
}

// TestListeners holds by which listener others come.
func TestListeners(t *testing.T) {
	for _, c := range []struct{ name, http, want string }{
		{"loopback", "server { listen 127.0.0.1:1; listen [::1]:1; listen localhost:1; listen unix:/s; listen 127.9.9.9; PLACE }", "closed"},
		{"loopback in IPv6's writing", "server { listen [::ffff:127.0.0.1]:1; PLACE }", "closed"},
		{"no listen", "server { PLACE }", "open *:80 1.0.0.1"},
		{"one of two", "server { listen 127.0.0.1:1; listen 1; PLACE }", "open 1 1.0.0.1"},
		{"IPv6 alone", "server { listen [::]:1; deny 0.0.0.0/0; PLACE }", "open [::]:1 2000::1"},
		{"an address of this machine", "server { listen 10.0.0.5:1; PLACE }", "open 10.0.0.5:1 1.0.0.1"},
		{"a name", "server { listen dyups.internal:1; PLACE }", "open dyups.internal:1 1.0.0.1"},
		{"a star", "server { listen *:1; PLACE }", "open *:1 1.0.0.1"},
		{"a range of ports", "server { listen 8000-8002; PLACE }", "open 8000-8002 1.0.0.1"},
		{"a worse one behind", "server { listen 1 ssl; listen 2; ssl_verify_client on; PLACE }", "open 2 1.0.0.1"},
		{"TLS that another server's listen asks for", "server { listen 1 ssl; } server { listen 1; ssl_verify_client on; PLACE }", "closed"},
		{"verification of http", "ssl_verify_client on; server { listen 1 ssl; PLACE }", "closed"},
		{"both families denied to IPv4", "server { listen [::]:1 ipv6only=off; deny 0.0.0.0/0; PLACE }", "open [::]:1 2000::1"},
		{"IPv4 within IPv6 by IPv6's rules", "server { listen [::]:1 ipv6only=off; deny ::/0; PLACE }", "closed"},
		{"another server of the same address", "server { listen 1 default_server; deny all; } server { listen 1; server_name x; PLACE }", "open 1 1.0.0.1"},
	} {
		tree := parse(t, strings.ReplaceAll(c.http, "PLACE", "location / { dyups_interface; }"))
		v := access.Who(tree, find(tree, "dyups_interface"))
		got := v.Reach.String()
		if v.Reach != access.Closed {
			got = fmt.Sprintf("%s %s %s", v.Reach, v.Listen, v.Example)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestBy holds that the line is named that believes the client, or that can't be judged.
func TestBy(t *testing.T) {
	for http, want := range map[string]string{
		"set_real_ip_from 0.0.0.0/0; server { listen 1; allow ::1; deny all; PLACE }":                                                 "open set_real_ip_from 0.0.0.0/0;",
		"set_real_ip_from 10.0.0.0/8; server { listen 1; allow 192.168.0.0/16; deny all; PLACE }":                                     "trusted networks set_real_ip_from 10.0.0.0/8;",
		"set_real_ip_from 10.0.0.0/8; server { listen 1; allow 10.0.0.0/8; deny all; PLACE }":                                         "closed",
		"server { listen 1; if ($other) { return 403; } PLACE }":                                                                      "can't be told if ($other) {",
		"server { listen 1; if (-f /tmp/closed) { return 403; } PLACE }":                                                              "can't be told if (-f /tmp/closed) {",
		`js_set $no f; server { listen 1; if ($no) { return 403; } PLACE }`:                                                           "can't be told if ($no) {",
		`server { listen 1; if ($remote_addr ~ "^(?!10)") { return 403; } PLACE }`:                                                    "can't be told if ($remote_addr ~ ^(?!10) ) {",
		"server { listen 1; auth_jwt ops; PLACE }":                                                                                    "can't be told auth_jwt ops;",
		"server { listen 1; access_by_lua_file a; satisfy any; allow all; PLACE }":                                                    "open",
		"geo $a { proxy 0.0.0.0/0; default 1; 10.0.0.0/8 0; } server { listen 1; if ($a) { return 403; } PLACE }":                     "open",
		"map $host $no { default 1; ops.example 0; } server { listen 1; if ($no) { return 403; } PLACE }":                             "open",
		"map $http_x_token $no { default 1; c2VjcmV0 0; } server { listen 1; if ($no) { return 403; } PLACE }":                        "closed",
		"server { listen 1; auth_basic $realm; auth_basic_user_file u; PLACE }":                                                       "can't be told auth_basic $realm;",
		"map $remote_addr $realm { default ops; ~^10\\. off; } server { listen 1; auth_basic $realm; auth_basic_user_file u; PLACE }": "closed",
	} {
		tree := parse(t, strings.ReplaceAll(http, "PLACE", "location / { dyups_interface; }"))
		v := access.Who(tree, find(tree, "dyups_interface"))
		got := v.Reach.String()
		if v.By != nil {
			got += " " + v.By.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", http, got, want)
		}
	}
}

// TestManyRanges holds that a country's list of networks is judged, or said not to be, in time.
func TestManyRanges(t *testing.T) {
	geo := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%d.%d.%d.0/24 1;\n", 11+i>>16, i>>8&255, i&255)
		}
		return "geo $ops { default 0;\n" + b.String() + "}"
	}
	for n, want := range map[int]string{500: "closed", 50_000: "can't be told"} {
		tree := parse(t, geo(n)+"server { listen 1; if ($ops = 0) { return 403; } location / { dyups_interface; } }")
		if got := access.Who(tree, find(tree, "dyups_interface")).Reach.String(); got != want {
			t.Errorf("%d networks: %s, want %s", n, got, want)
		}
	}
}

func TestLetsOtherFamilies(t *testing.T) {
	tree := parse(t, "server { listen [::]:1; deny 0.0.0.0/0; deny fe80::/10; location / { dyups_interface; } }")
	place := find(tree, "dyups_interface")
	l := access.Listeners(tree, place.Around("server"))[0]
	for from, want := range map[string]bool{"2001:db8::1": true, "fe80::1": false, "10.0.0.1": false} {
		if got := access.Lets(tree, place, l, netip.MustParseAddr(from)); got != want {
			t.Errorf("%s: %v, want %v", from, got, want)
		}
	}
}
