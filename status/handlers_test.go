package status_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

func TestWhatIsNotThere(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "the page") })
	r := serve(t, statustest.New(), "", status.Parts{Page: page})
	for _, c := range []struct {
		method, path string
		code         int
		allow, says  string
	}{
		{"GET", "/api/v1/nothing", 404, "", "openapi.yaml"},
		{"GET", "/api/v2/status", 404, "", "openapi.yaml"},
		{"POST", "/api/v1/status", 405, "GET", "POST"},
		{"GET", "/api/v1/freezes", 405, "POST", "GET"},
		{"PUT", "/api/v1/freezes/a", 405, "DELETE", "PUT"},
		{"GET", "/anything", 200, "", "the page"},
		{"GET", "/metrics", 200, "", "the page"},
		{"HEAD", "/api/v1/status", 200, "", ""},
		{"HEAD", "/api/v1/events", 200, "", ""},
	} {
		a := r.ask(t, r.unix, c.method, c.path, "")
		if a.StatusCode != c.code || a.Header.Get("Allow") != c.allow || !strings.Contains(a.text, c.says) {
			t.Errorf("%s %s answers %d %q %s", c.method, c.path, a.StatusCode, a.Header.Get("Allow"), a.text)
		}
		var failure struct{ Error string }
		if c.code >= 400 && (json.Unmarshal([]byte(a.text), &failure) != nil || failure.Error == "") {
			t.Errorf("%s %s answers %q", c.method, c.path, a.text)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	d := statustest.New()
	r := serve(t, d, "", status.Parts{})
	expect := func(path, text string, code int) {
		t.Helper()
		if a := r.ask(t, r.http, http.MethodGet, path, ""); a.StatusCode != code || a.text != text+"\n" {
			t.Errorf("%s answers %d %q", path, a.StatusCode, a.text)
		}
	}
	expect("/healthz", "ok", 200)
	expect("/readyz", "ready", 200)
	expect("/readyz?format=json", `{"ready":true,"reasons":[]}`, 200)
	d.Change(func(s *statustest.State) {
		s.Dead = io.ErrClosedPipe
		s.Status.Gateways[1].InSync, s.Status.Gateways[1].Error = false, "connection refused"
	})
	why := "gateway edge-2 is out of sync: connection refused"
	expect("/healthz", io.ErrClosedPipe.Error(), 503)
	expect("/readyz", "not ready: "+why, 503)
	expect("/readyz?format=json", `{"ready":false,"reasons":["`+why+`"]}`, 503)
}

func TestLargeAnswersAreCompressedForWhoeverAsks(t *testing.T) {
	d := statustest.Large(2000, 10)
	r := serve(t, d, "", status.Parts{})
	plain := r.ask(t, r.http, http.MethodGet, "/api/v1/upstreams", "", "Accept-Encoding", "identity")
	zipped := r.ask(t, r.http, http.MethodGet, "/api/v1/upstreams", "", "Accept-Encoding", "gzip")
	if zipped.Header.Get("Content-Encoding") != "gzip" || plain.Header.Get("Content-Encoding") != "" {
		t.Fatal("compressed where not asked, or not where asked")
	}
	z, err := gzip.NewReader(strings.NewReader(zipped.text))
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := io.ReadAll(z)
	if err != nil || string(unzipped) != plain.text {
		t.Errorf("the compressed answer is another: %v", err)
	}
	if len(zipped.text)*5 > len(plain.text) {
		t.Errorf("%d bytes became %d", len(plain.text), len(zipped.text))
	}
	var got struct{ Upstreams []status.Upstream }
	if err := json.Unmarshal(unzipped, &got); err != nil || len(got.Upstreams) != 2000 {
		t.Errorf("%d upstreams: %v", len(got.Upstreams), err)
	}
	small := r.ask(t, r.http, http.MethodGet, "/readyz?format=json", "", "Accept-Encoding", "gzip")
	if small.Header.Get("Content-Encoding") != "" {
		t.Error("a few bytes are compressed")
	}
}

func TestListsAreWholeJSON(t *testing.T) {
	for name, d := range map[string]status.Daemon{"none": statustest.Empty(), "some": statustest.New()} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, d, "", status.Parts{})
			var got struct {
				Upstreams []status.Upstream
				Events    []status.Event
			}
			for path, n := range map[string]func() (is, want int){
				"upstreams":       func() (int, int) { return len(got.Upstreams), len(slices.Collect(d.Upstreams())) },
				"timeline":        func() (int, int) { return len(got.Events), len(d.Timeline(10000)) },
				"timeline?last=2": func() (int, int) { return len(got.Events), len(d.Timeline(2)) },
			} {
				a := r.ask(t, r.http, http.MethodGet, "/api/v1/"+path, "")
				if err := json.Unmarshal([]byte(a.text), &got); err != nil || a.StatusCode != http.StatusOK || strings.Contains(a.text, "null") {
					t.Fatalf("%s: %d %q: %v", path, a.StatusCode, a.text, err)
				}
				if is, want := n(); is != want {
					t.Errorf("%s has %d of %d", path, is, want)
				}
			}
			for _, wrong := range []string{"0", "-1", "x", ""} {
				a := r.ask(t, r.http, http.MethodGet, "/api/v1/timeline?last="+wrong, "")
				if a.StatusCode != http.StatusBadRequest || !strings.Contains(a.text, "how many events") {
					t.Errorf("last=%s: %d %s", wrong, a.StatusCode, a.text)
				}
			}
		})
	}
}

func TestNoListIsNull(t *testing.T) {
	before := status.Explanation{Upstream: status.Upstream{Servers: []status.Server{{Addr: "a"}}}}
	given := map[string]any{
		"explanation": before, "plan": &status.Plan{Gateways: make([]status.GatewayPlan, 1)}, "none": nil,
		"hold": (*status.Hold)(nil), "upstreams": []status.Upstream{{Name: "a"}},
	}
	text, err := json.Marshal(status.Whole(given, reason.English))
	if err != nil {
		t.Fatal(err)
	}
	left := strings.NewReplacer(`"hold":null`, "", `"none":null`, "").Replace(string(text))
	if strings.Contains(left, "null") {
		t.Error(left)
	}
	if before.Options != nil || given["upstreams"].([]status.Upstream)[0].Servers != nil {
		t.Error("what was given was changed")
	}
	st := statustest.New().Status()
	if diff := cmp.Diff(st, status.Whole(st, reason.English), cmpopts.EquateComparable(reason.Reason{})); diff == "" || strings.Contains(diff, "Name:") {
		t.Errorf("only the reasons were nil:\n%s", diff)
	}
}
