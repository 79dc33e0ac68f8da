package nginxtree

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	const conf = `
http {
	server {
		location /1 { proxy_pass http://Grafana:3000; }
		location /2 { proxy_pass https://localhost/x; }
		location /3 { proxy_pass http://$ups; }
		location /4 { proxy_pass http://10.0.0.1:80; }
		location /5 { proxy_pass http://[::1]:80; }
		location /6 { proxy_pass http://unix:/run/x.sock:/; }
		location /7 { fastcgi_pass php:9000; }
		location /8 { fastcgi_pass unix:/run/php.sock; }
		location /9 { uwsgi_pass app:3031; }
		location /10 { scgi_pass scgi; }
		location /11 { grpc_pass grpcs://rpc.example:50051; }
		location /12 { memcached_pass cache:11211; }
		location /13 { if ($a) { proxy_pass "http://in-if:1"; } }
		location /14 { proxy_pass http://web?x=1; }
		location /15 { proxy_pass http://host:$port; }
		location /16 { proxy_pass http://10.0.0.1.example; }
	}
}
stream { server { proxy_pass tcp-host:5432; } }
`
	var got []string
	var text strings.Builder
	text.WriteString(conf)
	tree, err := Load("/n.conf", dump{"/n.conf": &text})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range tree.Hosts() {
		got = append(got, fmt.Sprint(h.Name, " ", h.Port))
	}
	want := []string{
		"grafana true", "localhost false", "php true", "app true", "scgi false", "rpc.example true", "cache true",
		"in-if true", "web false", "host false", "10.0.0.1.example false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
