package nginxconf_test

import (
	"errors"
	"strings"
	"testing"

	"swallowkeeper/internal/nginxconf"
)

func TestParseBlocksTakesCarefulEdits(t *testing.T) {
	text := "\n\nupstream  web {\n\tip_hash ;\n\n server 10.0.0.1:80;\nserver 10.0.0.2:80 down weight=3\tfail_timeout=1m30s ; #x\n}\n\n\n" +
		"upstream api {\nserver [::1]:1; # a%3Bb\n}"
	us, err := nginxconf.ParseBlocks([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, u := range us {
		got = nginxconf.AppendBlock(got, u)
	}
	want := `upstream web {
    ip_hash;
    server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=10s;
    server 10.0.0.2:80 weight=3 max_fails=1 fail_timeout=90s down; # x
}
upstream api {
    server [::1]:1 weight=1 max_fails=1 fail_timeout=10s; # a%3Bb
}
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestParseBlocksRefuses(t *testing.T) {
	const server = "server 10.0.0.1:80;\n"
	for _, tt := range []struct{ name, text, want string }{
		{"something else", "server {\n}\n", `line 1: found "server {", expected "upstream NAME {"`},
		{"a comment between blocks", "# hello\n", `line 1: found "# hello", expected "upstream NAME {"`},
		{"bad name", "upstream a;b {\n", `line 1: found the upstream name "a;b": the name has characters`},
		{"brace on the next line", "upstream a\n{\n", `line 1: found "upstream a", expected "upstream NAME {"`},
		{"comment behind the name", "upstream a { # hello\n", `expected "upstream NAME {" or "upstream NAME { # canary SUFFIX"`},
		{"empty canary", "upstream a { # canary\n", `line 1: found "upstream a { # canary"`},
		{"canary with a blank", "upstream a { # canary b c\n", `line 1: found`},
		{"twice", "upstream a {\n" + server + "}\nupstream A {\n", `line 4: found upstream A a second time`},
		{"no end", "upstream a {\n" + server, `line 2: found the end of the text, expected } of upstream a`},
		{"cut within a line", "upstream a {\nserver 10.0.0.1:8", `line 2: found "server 10.0.0.1:8", expected a directive that ends`},
		{"no server", "upstream a {\n}\n", `line 2: found the end of upstream a: it has no server`},
		{"only backups", "upstream a {\nserver 10.0.0.1:80 backup;\n}\n", `line 3: found the end of upstream a: all its servers are backups`},
		{
			"backup beside ip_hash", "upstream a {\nip_hash;\nserver 10.0.0.2:80 backup;\n" + server + "}\n",
			`nginx allows no backup servers beside ip_hash`,
		},
		{"host name", "upstream a {\nserver web.local:80;\n", `line 2: found "web.local:80", expected an IP address with a port`},
		{"no port", "upstream a {\nserver 10.0.0.1;\n", `line 2: found "10.0.0.1", expected an IP address with a port`},
		{"port 0", "upstream a {\nserver 10.0.0.1:0;\n", `line 2: found server 10.0.0.1:0: the address is missing`},
		{"any address", "upstream a {\nserver 0.0.0.0:1;\n", `means every address, not one`},
		{"another spelling", "upstream a {\nserver [::ffff:10.0.0.1]:1;\n", `the address is another spelling of 10.0.0.1:1`},
		{"server twice", "upstream a {\n" + server + server, `line 3: found server 10.0.0.1:80 a second time in upstream a`},
		{"weight 0", "upstream a {\nserver 10.0.0.1:80 weight=0;\n", `line 2: invalid parameter "weight=0"`},
		{"huge weight", "upstream a {\nserver 10.0.0.1:80 weight=65536;\n", `weight 65536 is not between`},
		{"unknown parameter", "upstream a {\nserver 10.0.0.1:80 slow_start=3s;\n", `line 2: invalid parameter "slow_start=3s"`},
		{"no address", "upstream a {\nserver;\n", `line 2: found "server;", expected "server ADDRESS:PORT ..."`},
		{"two directives on a line", "upstream a {\nip_hash; least_conn;\n", `line 2: found "ip_hash; least_conn;"`},
		{"quotes", "upstream a {\nserver \"10.0.0.1:80\";\n", `line 2: found`},
		{"end of Windows lines", "upstream a {\r\n", `line 1: found "upstream a {\r", expected`},
		{"a method over a variable", "upstream a {\nhash $x;\n", `line 2: found "hash $x;", expected a server, keepalive`},
		{"unknown directive", "upstream a {\nzone z 1m;\n", `line 2: found "zone z 1m;", expected a server, keepalive`},
		{"keepalive 0", "upstream a {\nkeepalive 0;\n", `expected keepalive and a number from 1 to`},
		{"keepalive twice", "upstream a {\nkeepalive 1;\nkeepalive 1;\n", `line 3: found "keepalive 1;", expected one`},
		{"two methods", "upstream a {\nip_hash;\nrandom;\n", `line 3: found "random;", expected one balancing method`},
		{"method late", "upstream a {\nkeepalive 1;\nrandom;\n", `expected the balancing method before keepalive`},
		{"comment behind an option", "upstream a {\nkeepalive 1; # x\n", `line 2: found "keepalive 1; # x", expected no comment here`},
		{"a comment in a block", "upstream a {\n# server 10.0.0.1:80;\n", `line 2: found "# server 10.0.0.1:80;"`},
		{"empty comment", "upstream a {\nserver 10.0.0.1:80; #\n", `expected a note behind #`},
		{"note with blanks", "upstream a {\nserver 10.0.0.1:80; # a b\n", `expected a note on the server's origin`},
		{"note of a host without a port", "upstream a {\nserver 10.0.0.1:80; # a lb.example\n", `expected a note on the server's origin`},
		{"three notes", "upstream a {\nserver 10.0.0.1:80; # a lb.example:80 b\n", `expected a note on the server's origin`},
		{"cut escape", "upstream a {\nserver 10.0.0.1:80; # a%3\n", `expected a note on the server's origin`},
		{"comment behind the end", "upstream a {\n" + server + "} # end\n", `line 3: found "} # end"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := nginxconf.ParseBlocks([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got error %v, want %s", err, tt.want)
			}
			if bad := (*nginxconf.Error)(nil); !errors.As(err, &bad) {
				t.Errorf("%T is no *nginxconf.Error", err)
			}
		})
	}
}

func FuzzParseBlocks(f *testing.F) {
	f.Add([]byte(webBlock))
	f.Add([]byte(webBlock + "\nupstream a {\n    server 10.0.0.1:1 weight=1 max_fails=1 fail_timeout=1s; # a%3Bb\n}\n"))
	f.Add([]byte("upstream a {\n random;\nserver [::1]:1 down fail_timeout=1h1m1s;\n}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		us, err := nginxconf.ParseBlocks(text)
		if err != nil {
			return
		}
		var again []byte
		for _, u := range us {
			if err := nginxconf.Valid(u); err != nil {
				t.Fatalf("parsed what is not valid: %v", err)
			}
			again = nginxconf.AppendBlock(again, u)
		}
		same, err := nginxconf.ParseBlocks(again)
		if err != nil || len(same) != len(us) {
			t.Fatalf("%v, %d upstreams, want %d in\n%s", err, len(same), len(us), again)
		}
		for i := range us {
			if !us[i].Identical(same[i]) {
				t.Fatalf("got %+v, want %+v", same[i], us[i])
			}
		}
	})
}
