package status_test

import (
	"testing"

	"swallowkeeper/reason"
	"swallowkeeper/status"
)

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		`Get "http://127.0.0.1:8500/v1/catalog/services?index=41&wait=300000ms": dial tcp 127.0.0.1:8500: connect: connection refused`: "refuses connections",
		`Post "http://edge-1:8081/upstream/web": dial tcp: lookup edge-1 on 10.0.0.2:53: no such host`:                                 "host name does not resolve",
		`Get "http://10.0.0.9:8081/detail": dial tcp 10.0.0.9:8081: connect: no route to host`:                                         "cannot be reached",
		`Get "http://10.0.0.9:8081/detail": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`:                "does not answer in time",
		`Get "https://consul:8501/v1/x": tls: failed to verify certificate: x509: certificate has expired`:                             "certificate is not accepted",
		`Unexpected response code: 403 (Permission denied: token with AccessorID '1' lacks permission 'service:read')`:                 "access denied",
		`open /etc/nginx/conf.d/a.conf: permission denied`:                                                                             "no permission",
		`write /etc/nginx/conf.d/.a.conf: no space left on device`:                                                                     "disk is full",
		`open /etc/nginx/conf.d/a.conf: read-only file system`:                                                                         "file system is read-only",
		`read tcp 10.0.0.1:80->10.0.0.2:90: read: connection reset by peer`:                                                            "closed the connection",
		"it hangs": "",
	} {
		if got := status.Plain(text); got.String() != want {
			t.Errorf("%s\nis %q, want %q", text, got, want)
		} else if want != "" && got.In(reason.Chinese) == want {
			t.Errorf("%q has no Chinese", want)
		}
	}
}
