package status_test

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/generation"
	"swallowkeeper/internal/peer"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// TestOrdersBearTheNameOfWhoGaveThem has each order come over the socket and with the token: what is told of
// it has the name of the user that connected, or the token's, and the person's reason.
func TestOrdersBearTheNameOfWhoGaveThem(t *testing.T) {
	d := statustest.New()
	r := serve(t, d, secret, status.Parts{})
	events := d.Subscribe(t.Context())
	why := "?why=" + url.QueryEscape("  deploy 42; 部署 ")
	for name, c := range map[string]struct {
		client *http.Client
		by     string
	}{"socket": {r.unix, peer.Own()}, "token": {r.http, "token"}} {
		orders := []struct{ method, path, body string }{
			{http.MethodPost, freezes, freezeAll},
			{http.MethodDelete, freezes + "/*", ""},
			{http.MethodPost, "/api/v1/rollback", `{"generation":10}`},
		}
		if name == "socket" {
			orders = append(orders, struct{ method, path, body string }{http.MethodPost, "/api/v1/holds/" + statustest.HoldID + "/approve", ""})
		}
		for _, o := range orders {
			for _, why := range []string{"", why} {
				if strings.HasSuffix(o.path, "approve") && why == "" {
					continue // it can be approved once
				}
				if o.method == http.MethodDelete {
					r.ask(t, c.client, http.MethodPost, freezes, freezeAll, "Authorization", "Bearer "+secret)
					<-events
				}
				if a := r.ask(t, c.client, o.method, o.path+why, o.body, "Authorization", "Bearer "+secret); a.StatusCode != http.StatusOK {
					t.Fatalf("%s %s: %d %s", name, o.path, a.StatusCode, a.text)
				}
				want := generation.Signature{By: c.by}
				if why != "" {
					want.Why = "deploy 42; 部署"
				}
				if e := <-events; e.By != want.By || e.Why != want.Why {
					t.Errorf("%s %s tells of %+v, want it signed %+v", name, o.path, e, want)
				}
			}
		}
	}
	if log := r.log.String(); !strings.Contains(log, "by="+peer.Own()) || !strings.Contains(log, "by=token") {
		t.Errorf("the log does not say by whom:\n%s", log)
	}
}

func TestATokenIsCalledAfterItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ci: main")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := statustest.New()
	r := serve(t, d, "", status.Parts{})
	_, log := newLog()
	site, err := status.Listen(status.Config{Address: "127.0.0.1:0", TokenFile: file}, d, status.Parts{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- site.Serve(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if a := send(t, r.http, http.MethodPost, site.URL()+freezes[1:], freezeAll, "Authorization", "Bearer "+secret); a.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", a.StatusCode, a.text)
	}
	if f := d.Status().Freezes; f[len(f)-1].By != "token ci_ main" {
		t.Errorf("frozen are %+v", f)
	}
}

func TestAReasonThatIsNoLineIsRefused(t *testing.T) {
	d := statustest.New()
	r := serve(t, d, "", status.Parts{})
	for name, why := range map[string]string{
		"too long": strings.Repeat("x", 201), "two lines": "a\nupstream evil {}", "a command for a terminal": "\x1b[2J", "no UTF-8": "\xff",
	} {
		a := r.ask(t, r.unix, http.MethodPost, freezes+"?why="+url.QueryEscape(why), freezeAll)
		if a.StatusCode != http.StatusBadRequest || !strings.Contains(a.text, "why: the reason") {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.text)
		}
	}
	if frozen(d) > 0 {
		t.Error("it was frozen all the same")
	}
}
