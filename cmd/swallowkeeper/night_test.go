package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"swallowkeeper/internal/loopback"
	"swallowkeeper/status"
)

// TestTheNight plays what somebody is woken for: Consul comes back without its state, nearly
// everything would go, and a person looks, tries, and goes back.
func TestTheNight(t *testing.T) {
	t.Parallel()
	r, consul := ownConsul(t)
	page := r.page()
	r.configure()
	all := want{}
	for i := range 42 {
		name := fmt.Sprintf("s%02d", i)
		all[name] = fmt.Sprintf("10.0.1.%d:80", i+1)
		r.up(name, all[name])
	}
	r.daemon()
	r.inSync(all)
	evening := r.status().Generation.Number

	consul.RestartEmpty()
	r.up("s00", all["s00"])
	r.up("s01", all["s01"])
	var hold status.Hold
	eventually(t, 20*time.Second, "the hold", func() bool {
		st := r.status()
		if len(st.Holds) == 1 && st.Registries[0].Trouble == "" && strings.Contains(st.Holds[0].Reason.String(), "40 of 42 servers would go") {
			hold = st.Holds[0]
		}
		return hold.ID != ""
	})
	r.inSync(all) // nginx goes on as it was

	// They look: within seconds it is plain what is held and why.
	r.command("status").wants(t, status.ExitHeld, "held", "40 of 42 servers would go")
	shown, code := get(t, page, "")
	if code != http.StatusOK || !strings.Contains(shown, "40 of 42 servers would go") || !strings.Contains(shown, hold.ID) {
		t.Errorf("the page, %d, does not say it", code)
	}
	r.command("explain", r.prefix+"s07").wants(t, status.ExitInSync, "guard", "10.0.1.8:80", "registry consul has nothing of this name now")

	// Approving takes a right.
	for token, want := range map[string]int{"": http.StatusUnauthorized, "somebody-elses-token": http.StatusUnauthorized} {
		if code := post(t, page+"api/v1/holds/"+hold.ID+"/approve", token); code != want {
			t.Errorf("approving with token %q: %d", token, code)
		}
	}
	r.inSync(all)

	// They approve, with the right, and it was wrong.
	r.command("approve", hold.ID).wants(t, status.ExitInSync)
	r.inSync(want{"s00": all["s00"], "s01": all["s01"]})
	r.command("history").wants(t, status.ExitInSync, fmt.Sprint(evening))

	// They go back: every worker of nginx has the evening's upstreams again.
	r.command("rollback", fmt.Sprint(evening), "--yes").wants(t, status.ExitInSync)
	r.inSync(all)
	eventually(t, 20*time.Second, "it is in sync and frozen", func() bool {
		st := r.status()
		return st.InSync && len(st.Freezes) == 1
	})
	// In the morning Consul has its services again.
	for name, addr := range all {
		r.up(name, addr)
	}
	r.command("unfreeze", "--all").wants(t, status.ExitInSync)
	r.inSync(all)
	// A registry that was away is asked again after a wait.
	eventually(t, 20*time.Second, "in the morning all is well", func() bool { return r.command("status").code == status.ExitInSync })
}

// pageToken lets changes through at the page.
const pageToken = "0123456789abcdef"

// page adds an address to the configuration and returns the page's URL.
func (r *rig) page() string {
	r.t.Helper()
	r.pageAddr = loopback.Free(r.t, 1)[0]
	return "http://" + r.pageAddr + "/"
}

// command runs one of the operator's commands.
func (r *rig) command(args ...string) ran {
	r.t.Helper()
	return call(r.t, nil, append(args, "--config", r.toml)...)
}

func get(t *testing.T, url, token string) (string, int) {
	t.Helper()
	return send(t, http.MethodGet, url, token)
}

func post(t *testing.T, url, token string) int {
	t.Helper()
	_, code := send(t, http.MethodPost, url, token)
	return code
}

func send(t *testing.T, method, url, token string) (string, int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), resp.StatusCode
}
