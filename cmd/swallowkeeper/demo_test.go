package main

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"

	"swallowkeeper/internal/loopback"
	"swallowkeeper/status"
)

// TestTheDemoCanBePlayedWith pastes what the running demo says: plain commands find it where its page
// is at the usual address, and the hold that a visitor causes goes through by a visitor's word.
func TestTheDemoCanBePlayedWith(t *testing.T) {
	t.Parallel()
	page := loopback.Free(t, 1)[0]
	usual := []string{"SWALLOWKEEPER_STATUS_SOCKET=/nowhere/s", "SWALLOWKEEPER_STATUS_ADDRESS=" + page}
	for name, env := range map[string][]string{"plain": usual, "named": {"SWALLOWKEEPER_STATUS_SOCKET=/nowhere/s"}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var out, errs buffer
			ended := make(chan int, 1)
			go func() {
				ended <- run(ctx, []string{"demo", "--registry", ":0", "--api", ":0", "--proxy", ":0", "--page", page}, env, &out, &errs)
			}()
			shown := func(label string) string {
				var command string
				eventually(t, 3*patience, label, func() bool {
					_, rest, found := strings.Cut(out.String(), "\n  "+label)
					line, _, whole := strings.Cut(rest, "\n")
					command = strings.TrimSpace(line)
					return found && whole
				})
				return command
			}
			// paste runs a command of ours as a shell would.
			paste := func(line string) ran {
				words, vars := strings.Fields(line), env
				for strings.Contains(words[0], "=") {
					words, vars = words[1:], append(vars[:len(vars):len(vars)], words[0])
				}
				if words[0] != os.Args[0] || (name == "plain") == strings.Contains(line, "--address") {
					t.Errorf("a command to paste: %s", line)
				}
				return call(t, vars, words[1:]...)
			}
			paste(shown("the verdict")).wants(t, status.ExitInSync, "in sync", "17 servers")
			url, body, _ := strings.Cut(strings.TrimPrefix(shown("lose a rack"), "curl -X PUT "), " -d ")
			req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+url, strings.NewReader(strings.Trim(body, "'")))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			approve := shown("approve it    SWALLOWKEEPER_STATUS_TOKEN=")
			paste(shown("what is held")).wants(t, status.ExitHeld, "held: 10 of 17 servers would go")
			paste("SWALLOWKEEPER_STATUS_TOKEN="+approve).wants(t, status.ExitInSync, "is approved")
			eventually(t, patience, "the rack is gone", func() bool { return strings.Contains(out.String(), "shop is gone") })
			cancel()
			if code := <-ended; code != status.ExitInSync {
				t.Errorf("exit code %d: %s", code, errs.String())
			}
		})
	}
}
