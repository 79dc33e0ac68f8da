package status_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// TestAnswersInChinese asks for everything that holds reasons in each language. Names and codes are the same in both.
func TestAnswersInChinese(t *testing.T) {
	doc := document(t)
	f := statustest.New()
	f.Change(func(s *statustest.State) {
		s.Opinion = s.Status.Holds[0].Reason
		s.Status.Registries[0].Trouble = "connection refused"
	})
	r := serve(t, f, "", status.Parts{})
	for _, c := range []struct {
		route, path, english, chinese string
		code                          int
	}{
		{"GET /readyz", "/readyz?format=json&", "registry consul@127.0.0.1:8500: connection refused", "注册中心 consul@127.0.0.1:8500：connection refused", 503},
		{"GET /readyz", "/readyz?", "not ready: registry", "未就绪：注册中心", 503},
		{"GET /api/v1/status", "", "servers would go, max_removal allows 5%", "max_removal 只允许 5%：移除已拦截", 200},
		{"GET /api/v1/status", "", "in sync, but the guard holds", "一致，但保护规则拦截了", 200},
		{"GET /api/v1/upstreams", "", `"it is in maintenance: \"kernel update\""`, `"处于维护模式：\"kernel update\""`, 200},
		{"GET /api/v1/upstreams/{name}", "/api/v1/upstreams/billing?", `"held: `, `"已拦截：`, 200},
		{"GET /api/v1/holds", "", "would go", "台服务器中有", 200},
		{"GET /api/v1/history", "", "rolled back to generation 5", "已回滚到第 5 代", 200},
		{"GET /api/v1/diff", "/api/v1/diff?from=7&to=12&", "updated, 0 removed", "更新 1，移除 0", 200},
		{"GET /api/v1/plan", "", "would go", "台服务器中有", 200},
		{"GET /api/v1/timeline", "", "no longer receives traffic for", "不再承接", 200},
		{"GET /api/v1/rollback", "/api/v1/rollback?generation=10&", "would go", "台服务器中有", 200},
		{"POST /api/v1/rollback", "/api/v1/rollback?", "would go", "台服务器中有", 200},
	} {
		method, path, _ := strings.Cut(c.route, " ")
		if c.path != "" {
			path = strings.TrimRight(c.path, "?&")
		}
		ask := func(lang string) string {
			at, body := path, ""
			if lang != "" {
				at += map[bool]string{true: "&", false: "?"}[strings.Contains(at, "?")] + "lang=" + lang
			}
			if method == http.MethodPost {
				body = `{"generation":10}`
			}
			checkExchange(t, doc, r, exchange{route: c.route, path: at, body: body, code: c.code})
			return r.ask(t, r.unix, method, at, body).text
		}
		for _, lang := range []string{"", "en", "fr", "ZH"} {
			if got := ask(lang); !strings.Contains(got, c.english) || strings.Contains(got, c.chinese) {
				t.Errorf("%s in %q lacks %q: %.600s", c.route, lang, c.english, got)
			}
		}
		got := ask("zh")
		if !strings.Contains(got, c.chinese) || strings.Contains(got, c.english) {
			t.Errorf("%s lacks %q: %.600s", c.route, c.chinese, got)
		}
		if strings.Contains(ask(""), `"code":"fake-`) != strings.Contains(got, `"code":"fake-`) {
			t.Errorf("%s: the codes differ: %.600s", c.route, got)
		}
	}
	held := `"reason":"` + f.Status().Holds[0].Reason.In(reason.Chinese) + `","code":"fake-max-removal"`
	if got := r.ask(t, r.http, http.MethodGet, "/api/v1/holds?lang=zh", "").text; !strings.Contains(got, held) {
		t.Errorf("no %s in %s", held, got)
	}
}

func TestEventsInChinese(t *testing.T) {
	for lang, want := range map[string][2]string{"": {"receives traffic for", "in sync"}, "?lang=zh": {"开始承接", "一致"}, "?lang=xx": {"receives traffic for", "in sync"}} {
		d := statustest.New()
		bubble(t, d, func(t *testing.T, _ *status.Site, p *pipes, stop func()) {
			c := p.dial(t, "/api/v1/events"+lang)
			defer c.Close()
			var got []frame
			read := make(chan struct{})
			go func() {
				defer close(read)
				frames(t, c, func(f frame) { got = append(got, f) })
			}()
			synctest.Wait()
			d.Tell(status.Event{Kind: "server_in", Text: gets.With("10.0.0.1:80", statustest.Hostile)})
			synctest.Wait()
			stop()
			<-read
			if len(got) < 2 || !strings.Contains(got[0].data, want[1]) {
				t.Fatalf("in %q it begins with %.300v", lang, got)
			}
			if event := got[1]; event.event != "server_in" || !strings.Contains(event.data, `"text":"10.0.0.1:80 `+want[0]) || !strings.Contains(event.data, `"code":"test-gets"`) {
				t.Errorf("in %q it tells %+v", lang, event)
			}
		})
	}
}

var gets = reason.New("test-gets", "{addr} receives traffic for {upstream}", "{addr} 开始承接 {upstream} 的流量")
