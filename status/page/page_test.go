package page_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/status"
	"swallowkeeper/status/page"
	"swallowkeeper/status/statustest"
	"swallowkeeper/syncer"
)

func get(t *testing.T, daemon status.Daemon, target, accept string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	r.Header.Set("Accept-Language", accept)
	w := httptest.NewRecorder()
	page.New(daemon).ServeHTTP(w, r)
	return w
}

func TestWithoutScript(t *testing.T) {
	type state = statustest.State
	same := func(*state) {}
	cases := []struct {
		name     string
		target   string
		accept   string
		night    func(*state)
		held     bool
		contains []string
		lacks    []string
	}{
		{
			"in sync", "/", "", same, false,
			[]string{
				"In sync: 2 gateways show generation 12", "edge-2", "4711", "consul", "live in ",
				`<html lang="en"`, "check &#34;http&#34; is critical", "rollback",
			},
			[]string{"swallowkeeper approve"},
		},
		{
			"held", "/", "", same, true,
			[]string{"Held: ", "billing", "<code>swallowkeeper approve " + statustest.HoldID + "</code>", "too many servers at once"},
			nil,
		},
		{
			"out of sync", "/", "", func(s *state) {
				s.Status.Gateways[1].InSync, s.Status.Gateways[1].Error = false, "connection refused"
			}, true,
			[]string{"Out of sync: 1 of 2 gateways show generation 12", "connection refused", statustest.HoldID},
			nil,
		},
		{
			"not written", "/", "",
			func(s *state) { s.Status.FileError = "disk full" }, false,
			[]string{"Not written: ", "disk full"},
			nil,
		},
		{
			"not ready", "/", "",
			func(s *state) { s.Status.Registries[0].Trouble = "consul is silent" }, false,
			[]string{"In sync with generation 12, but not ready", "consul is silent"},
			nil,
		},
		{
			"frozen", "/", "",
			func(s *state) { s.Status.Freezes = []status.Freeze{{Name: status.Everything}} }, false,
			[]string{"In sync, and frozen at generation 12", "All upstreams", "until it is released"},
			nil,
		},
		{
			"times that are not known", "/", "",
			func(s *state) {
				zero := time.Time{}
				s.Status.Started, s.Status.Generation.Time, s.History[0].Time = zero, zero, zero
				s.Status.Registries[0] = status.Registry{Name: "dc", Trouble: "silent"}
				s.Status.Gateways[0].Checked, s.Status.Gateways[0].Since = zero, zero
				s.Status.Holds = []status.Hold{{ID: "a", Rule: "min_services"}}
			}, false,
			[]string{"at an unknown time", "New changes are waiting"},
			[]string{"0001"},
		},
		{
			"one gateway", "/", "",
			func(s *state) { s.Status.Gateways = s.Status.Gateways[:1] }, false,
			[]string{"In sync: the gateway shows generation 12"},
			nil,
		},
		{"the browser's language", "/", "de, zh-CN;q=0.8, en;q=0.5", same, false, []string{"一致：2 个网关均为第 12 代", `<html lang="zh-Hans"`}, nil},
		{"the language that is liked most", "/", "en;q=0.1, zh;q=0.9", same, false, []string{`<html lang="zh-Hans"`}, nil},
		{"a language that is not wanted", "/", "zh;q=0", same, false, []string{`<html lang="en"`}, nil},
		{"the address's language", "/?lang=en", "zh-CN", same, false, []string{"In sync: 2 gateways"}, nil},
		{"a language that there is not", "/?lang=xx", "fr", same, false, []string{"In sync: 2 gateways"}, nil},
		{"search by name", "/?q=CHECK", "", same, false, []string{">checkout</a></h3>"}, []string{">basket</a></h3>"}},
		{"search by reason", "/?q=kernel", "", same, false, []string{">search</a></h3>"}, []string{">checkout</a></h3>"}},
		{"reasons in Chinese", "/?lang=zh", "", same, true, []string{"处于维护模式：&#34;kernel update&#34;", "台服务器中有", "后生效", "回滚到第 5 代", "更新 1，移除 0"}, []string{"it is in maintenance", "would go", "gets traffic", "rolled back", "1 updated"}},
		{"search in Chinese", "/?lang=zh&q=维护", "", same, false, []string{">search</a></h3>"}, []string{">checkout</a></h3>"}},
		{"search in English on the Chinese page", "/?lang=zh&q=maintenance", "", same, false, []string{">search</a></h3>"}, []string{">checkout</a></h3>"}},
		{"search by state", "/?state=out", "", same, false, []string{">search</a></h3>", ">checkout</a></h3>"}, []string{">basket</a></h3>"}},
		{"search for nothing", "/?q=nosuch", "", same, false, []string{"Nothing matches."}, []string{">basket</a></h3>"}},
		{"difference", "/?from=9&to=12", "", same, false, []string{"From generation 9 to 12", "server 10.20.5.18:8080 "}, nil},
		{"difference that there is not", "/?from=1&to=12", "", same, false, []string{"is not kept"}, nil},
		{
			"hostile text", "/?q=" + "%3Cimg", "",
			beHostile, false,
			[]string{"&lt;img src=x"},
			[]string{"<img", "alert(2)</script>"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := quiet()
			f.Change(c.night)
			if c.held {
				hold(f)
			}
			w := get(t, f, c.target, c.accept)
			if w.Code != http.StatusOK {
				t.Fatalf("got %d: %s", w.Code, w.Body)
			}
			for _, text := range c.contains {
				if !strings.Contains(w.Body.String(), text) {
					t.Errorf("%q is missing in:\n%s", text, w.Body)
				}
			}
			for _, text := range c.lacks {
				if strings.Contains(w.Body.String(), text) {
					t.Errorf("%q should not be in:\n%s", text, w.Body)
				}
			}
		})
	}
}

func TestOnlyAsManyAsAskedFor(t *testing.T) {
	f := statustest.Large(2000, 10)
	if n := strings.Count(get(t, f, "/?view=cards", "").Body.String(), `class="card"`); n != 100 {
		t.Errorf("%d cards at first, want 100", n)
	}
	if n := strings.Count(get(t, f, "/?all=1&view=cards", "").Body.String(), `class="card"`); n != 2000 {
		t.Errorf("%d cards of all, want 2000", n)
	}
	if n := strings.Count(get(t, f, "/", "").Body.String(), `class="row"`); n != 100 {
		t.Errorf("%d rows of many upstreams, want 100", n)
	}
}

// TestSize: the page with its style and scripts, for a few upstreams and for very many, stays below 200 kB.
func TestSize(t *testing.T) {
	for name, f := range map[string]*statustest.Fake{"a few": quiet(), "2,000 of 10": statustest.Large(2000, 10)} {
		if n := get(t, f, "/", "").Body.Len() + len(scripts(t)); n > 200_000 {
			t.Errorf("%s: %d bytes", name, n)
		} else {
			t.Logf("%s: %d bytes", name, n)
		}
	}
}

func TestHeaders(t *testing.T) {
	f := quiet()
	for target, contentType := range map[string]string{
		"/": "text/html; charset=utf-8", "/page.css": "text/css; charset=utf-8", "/js/page.js": "text/javascript; charset=utf-8",
	} {
		h := get(t, f, target, "").Header()
		policy := h.Get("Content-Security-Policy")
		for _, part := range []string{
			"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'",
		} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy lacks %q: %s", target, part, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || h.Get("Content-Type") != contentType ||
			h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", target, h)
		}
	}
	if w := get(t, f, "/nosuch", ""); w.Code != http.StatusNotFound {
		t.Errorf("/nosuch: %d", w.Code)
	}
}

// TestTexts holds table, template and script together: no text is missing in a language, none is
// unused, and nothing is said past the table.
func TestTexts(t *testing.T) {
	var table map[string]map[string]string
	if err := json.Unmarshal(readFile(t, "text.json"), &table); err != nil {
		t.Fatal(err)
	}
	html, script := string(readFile(t, "page.html")), scripts(t)
	used := map[string]bool{}
	var prefixes []string
	find := func(source, pattern string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(source, -1) {
			for _, key := range m[1:] {
				if strings.HasSuffix(key, ".") {
					prefixes = append(prefixes, key)
				} else if key != "" {
					used[key] = true
				}
			}
		}
	}
	find(html, `\bt "([^"]+)"`)
	find(html, `known "([^"]+)"`)
	find(script, `\bt\('([^']+)'`)
	find(script, `\bt\([^()']+ \? '([^']+)' : '([^']+)'`)
	find(script, "known\\(`([^$`]+)\\$")
	find(string(readFile(t, "view.go")), `"(verdict\.[a-z_]*)"`)
	find(string(readFile(t, "text.go")), `must\(language, "([^"]+)"`)
	find(string(readFile(t, "view.go")), `must\(language, "([^"]+)"`)
	for key := range used {
		if table[key] == nil {
			t.Errorf("%q is used and not in the table", key)
		}
	}
	blanks := regexp.MustCompile(`\{\w+\}`)
	for key, text := range table {
		known := used[key]
		for _, prefix := range prefixes {
			known = known || strings.HasPrefix(key, prefix)
		}
		if !known {
			t.Errorf("%q is in the table and not used", key)
		}
		for _, language := range []string{"en", "zh"} {
			if strings.TrimSpace(text[language]) == "" {
				t.Errorf("%q has no text in %q", key, language)
			}
		}
		for language := range text {
			if !regexp.MustCompile(`^(en|zh)(_one)?$`).MatchString(language) {
				t.Errorf("%q has a text in %q", key, language)
			}
		}
		en, zh := map[string]bool{}, map[string]bool{}
		for _, blank := range blanks.FindAllString(text["en"], -1) {
			en[blank] = true
		}
		for _, blank := range blanks.FindAllString(text["zh"], -1) {
			zh[blank] = true
		}
		for blank := range en {
			if !zh[blank] && blank != "{n}" {
				t.Errorf("%q lacks %s in Chinese", key, blank)
			}
		}
		for blank := range zh {
			if !en[blank] {
				t.Errorf("%q has %s in Chinese alone", key, blank)
			}
		}
	}
	for _, kind := range []string{
		syncer.EventGeneration, syncer.EventServerIn, syncer.EventServerOut, syncer.EventHeld, syncer.EventHoldEnded,
		syncer.EventProven, syncer.EventApproved, syncer.EventFrozen, syncer.EventUnfrozen, syncer.EventRolledBack, syncer.EventPushed,
		syncer.EventInSync, syncer.EventOutOfSync, syncer.EventStoreFailed, syncer.EventStored,
	} {
		if table["kind."+kind] == nil {
			t.Errorf("events of kind %q have no text", kind)
		}
		if !strings.Contains(script, "'"+kind+"'") {
			t.Errorf("the script does not listen for events of kind %q", kind)
		}
	}
	for _, rule := range guard.Rules() {
		if table["rule."+rule] == nil {
			t.Errorf("holds by %q have no text", rule)
		}
	}
	bare := regexp.MustCompile(`(?s)<script.*?</script>|<svg class="symbols".*?</svg>|<code>swallowkeeper approve`).ReplaceAllString(html, "<>")
	bare = regexp.MustCompile(`(?s)\{\{.*?\}\}`).ReplaceAllString(bare, "")
	for _, attribute := range regexp.MustCompile(`(?:title|placeholder|aria-label|alt)="([^"]*)"`).FindAllStringSubmatch(bare, -1) {
		if regexp.MustCompile(`\pL`).MatchString(attribute[1]) {
			t.Errorf("the template says %q past the table", attribute[1])
		}
	}
	for _, text := range regexp.MustCompile(`>([^<>]*)<`).FindAllStringSubmatch(bare, -1) {
		if said := strings.ReplaceAll(text[1], "swallowkeeper", ""); regexp.MustCompile(`\pL`).MatchString(said) {
			t.Errorf("the template says %q past the table", said)
		}
	}
	// In the script a text is what has a space between two words.
	for _, m := range regexp.MustCompile(`el\('(?:p|b|h\d|span|dt|li|code)', \{[^}]*\}, '([^']+)'`).FindAllStringSubmatch(script, -1) {
		t.Errorf("the script says %q past the table", m[1])
	}
}

// TestNoMarkupFromText holds the script to text alone.
func TestNoMarkupFromText(t *testing.T) {
	script := scripts(t)
	for _, banned := range []string{
		"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "new Function",
		"createContextualFragment", "localStorage",
	} {
		if strings.Contains(script, banned) {
			t.Errorf("the script has %q", banned)
		}
	}
}

// scripts are all modules of the page's script.
func scripts(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob("js/*.js")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	var all strings.Builder
	for _, name := range names {
		all.Write(readFile(t, name))
	}
	return all.String()
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
