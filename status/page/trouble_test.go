package page_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// noDialogAgrees presses Enter in every dialog that changes something, at once and in its fields.
func noDialogAgrees(t *testing.T, ctx context.Context) {
	f := quiet()
	hold(f)
	b := open(t, ctx, serve(t, f, sesame))
	b.allow("401")
	b.live()
	nothing := func(where string) {
		t.Helper()
		f.Read(func(s statustest.State) {
			if n := len(s.Approved) + len(s.Frozen) + len(s.Unfrozen) + len(s.Rolled); n != 0 {
				t.Fatalf("%s: Enter did it", where)
			}
		})
	}
	for _, opener := range []string{"#holds .approve", "#history-list .rollback"} {
		b.click(opener)
		b.until("document.activeElement.matches('dialog button.cancel')")
		b.press(kb.Enter)
		b.until("!document.querySelector('dialog')")
		nothing(opener)
	}
	b.click("#freeze-all")
	b.until("document.activeElement.matches('dialog select')")
	b.press(kb.Enter)
	b.until("document.querySelector('dialog[open] select')")
	b.click("dialog .cancel")
	b.until("!document.querySelector('dialog')")
	nothing("freeze")
	b.click("#holds .approve")
	b.click("dialog button.danger")
	b.until("document.activeElement.id === 'token'")
	b.keys("#token", sesame+kb.Enter)
	b.until("document.querySelector('dialog[open] #token')")
	nothing("the token's field")
	// Nothing is there to be sent, and the button that agrees is not the first.
	b.until("!document.querySelector('dialog [type=submit], dialog button:not([type=button])')")
	b.until("document.querySelector('dialog .actions button').matches('.cancel')")
	b.press(kb.Escape)
	b.until("!document.querySelector('dialog')")
}

func noHealthyServer(t *testing.T, ctx context.Context) {
	f := quiet()
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	b.shows("In sync: 2 gateways")
	f.Lose("payment", reason.Text(`check "http" is critical: it is kept in traffic`))
	b.shows("payment has no healthy server")
	b.until("document.getElementById('verdict').classList.contains('bad') && document.title.startsWith('payment has no')")
	b.until("!document.getElementById('unserved').hidden && document.getElementById('unserved-list').innerText.includes('3 servers stay')")
	b.until("document.querySelector('.card h3').textContent === 'payment' && document.querySelector('.card .tag.bad')")
	f.Lose("login", reason.Text("critical"))
	b.shows("2 upstreams have no healthy server: login, payment")
	for _, c := range []struct{ target, text string }{{"/", "2 upstreams have no healthy server: login, payment"}, {"/?lang=zh", "2 个 upstream 没有健康的服务器：login, payment"}} {
		if w := get(t, f, c.target, ""); !strings.Contains(w.Body.String(), `class="verdict bad"`) || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("without the script %s lacks %q", c.target, c.text)
		}
	}
	hold(f)
	b.shows("2 upstreams have no healthy server") // it comes before what is held
	b.shows("8 servers stay")
}

func frozenIsNamed(t *testing.T, ctx context.Context) {
	f := quiet()
	f.Change(func(s *statustest.State) {
		s.Status.Freezes = []status.Freeze{{Name: "search"}, {Name: "mail"}, {Name: "login"}, {Name: "stock"}}
	})
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	b.shows("In sync, and frozen: search, mail, login, 1 more")
	if w := get(t, f, "/", ""); !strings.Contains(w.Body.String(), "In sync, and frozen: search, mail, login, 1 more") {
		t.Error("the page without its script does not name what is frozen")
	}
}

func alikeIsOneRow(t *testing.T, ctx context.Context) {
	f := quiet()
	f.Change(func(s *statustest.State) {
		u := &s.Upstreams[4] // checkout
		u.Servers = nil
		for i := range 10 {
			u.Servers = append(u.Servers, status.Server{Addr: fmt.Sprintf("10.9.0.%d:80", i), State: status.Out, Reason: reason.Text(`check "http" is critical`)})
		}
		u.Servers[9].State = status.In
	})
	for i := range 8 {
		addr := fmt.Sprintf("10.9.0.%d:80", i)
		f.Tell(status.Event{
			Kind: "server_out", Upstream: "checkout", Addr: addr, Generation: 13,
			Text: reason.Text(addr + ` no longer receives traffic for checkout: check "http" is critical`), Cause: reason.Text(`check "http" is critical`),
		})
	}
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	card := "[...document.querySelectorAll('.card')].find((c) => c.querySelector('h3').textContent === 'checkout')"
	b.until(card + ".querySelectorAll('.why').length === 1 && " + card + ".innerText.includes('9 servers: check')")
	b.until(card + ".querySelectorAll('details .chip').length === 3 && " + card + ".querySelector('summary').textContent === '3 more'")
	plain := get(t, f, "/", "").Body.String()
	if !strings.Contains(plain, "9 servers:") || !strings.Contains(plain, "<summary>3 more</summary>") {
		t.Error("without the script servers that are alike are not one row")
	}
	// What a person opened stays open when the card is drawn again.
	b.value(card+".querySelector('details').open = true", nil)
	f.Change(lose(4, 9, reason.Text("another reason")), happening("server_out", "one more"))
	b.shows("another reason")
	b.until(card + ".querySelector('details').open")
}

// chartCounts has more happen than there are events of.
func chartCounts(t *testing.T, ctx context.Context) {
	f := statustest.Large(3, 2)
	for i := range 40 {
		f.Tell(status.Event{Kind: "generation", Generation: i + 1, In: 100, Out: 30, Text: reason.Text("changed")})
		for k := range 50 {
			f.Tell(status.Event{Kind: "server_in", Upstream: "service-00001", Addr: fmt.Sprintf("10.1.%d.%d:80", i, k), Text: reason.Text("in")})
		}
	}
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	b.until("document.getElementById('chart').innerText.includes('4000 servers in, 1200 out, 40 generations')")
	f.Tell(status.Event{Kind: "generation", Generation: 41, In: 5, Text: reason.Text("changed")})
	b.until("document.getElementById('chart').innerText.includes('4005 servers in, 1200 out, 41 generations')")
}

// holdHidesNothing counts what a large hold shows and what it says is not shown.
func holdHidesNothing(t *testing.T, ctx context.Context) {
	f := statustest.Large(60, 10)
	h := status.Hold{ID: "abc", Rule: "max_removal", Reason: reason.Text("too many"), Of: 600}
	for i := range 29 {
		for k := range 10 {
			h.Servers = append(h.Servers, status.HeldServer{
				Upstream: fmt.Sprintf("service-%05d", i), Addr: fmt.Sprintf("10.0.%d.%d:80", i, k), Registered: k < 4,
			})
		}
	}
	h.Effects = status.Effects(h.Servers, func(string) int { return 10 })
	f.Change(func(s *statustest.State) { s.Status.Holds = []status.Hold{h} })
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	b.shows("290 servers stay")
	b.shows("174 deregistered, 116 registered but not usable")
	b.shows("17 more upstreams")
	b.until("document.querySelectorAll('#holds .chip').length === 0")
	b.click("#holds .hold > .rest:last-of-type > summary")
	b.until("document.querySelectorAll('#holds .chip').length === 290")
	b.until("document.querySelectorAll('#holds .hold > .effects > li').length === 12")
	b.until("[...document.querySelectorAll('#holds .groups')].every((e) => e.scrollHeight <= e.clientHeight + 1)")
	plain := get(t, f, "/", "").Body.String()
	for _, text := range []string{"290 servers stay", "174 deregistered, 116 registered but not usable", "17 more upstreams"} {
		if !strings.Contains(plain, text) {
			t.Errorf("without the script %q is missing", text)
		}
	}
}

func rollbackToThePresent(t *testing.T, ctx context.Context) {
	f := quiet()
	b := open(t, ctx, serve(t, f, sesame))
	b.live()
	b.signIn()
	b.until("document.querySelectorAll('#history-list .rollback').length > 0")
	// Somebody else is there first.
	f.Change(func(s *statustest.State) { s.Status.Generation = s.History[1] })
	b.click("#history-list .rollback")
	b.shows("Generation 11 is the current one: nothing was changed, and nothing was frozen.")
	f.Read(func(s statustest.State) {
		if len(s.Rolled) != 0 || len(s.Status.Freezes) != 0 {
			t.Errorf("rolled back %v, frozen %v", s.Rolled, s.Status.Freezes)
		}
	})
}
