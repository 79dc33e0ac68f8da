package status

import (
	"strings"

	"swallowkeeper/reason"
)

// plain maps error texts to plain words. The first entry whose text is part of the error applies.
var plain = []struct {
	phrase *reason.Phrase
	texts  []string
}{
	{diskFull, []string{"no space left on device", "disk quota exceeded"}},
	{readOnly, []string{"read-only file system"}},
	{refused, []string{"connection refused"}},
	{noName, []string{"no such host", "server misbehaving"}},
	{noRoute, []string{"no route to host", "network is unreachable", "host is unreachable"}},
	{badCertificate, []string{"x509:", "certificate", "tls: "}},
	{tooSlow, []string{"i/o timeout", "deadline exceeded", "timed out", "timeout exceeded", "client.timeout"}},
	{noAccess, []string{"acl not found", "permission denied: ", "unexpected response code: 403", "403 forbidden", "401 unauthorized", "unauthorized"}},
	{noPermission, []string{"permission denied", "operation not permitted"}},
	{cutOff, []string{"connection reset", "broken pipe", "unexpected eof", ": eof", "use of closed"}},
}

// Plain returns what an error means in a few words, or the zero Reason if unknown.
func Plain(text string) reason.Reason {
	text = strings.ToLower(text)
	for _, p := range plain {
		for _, part := range p.texts {
			if strings.Contains(text, part) {
				return p.phrase.With()
			}
		}
	}
	return reason.Reason{}
}
