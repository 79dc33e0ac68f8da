package page_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// What is for people with hundreds of upstreams.

// names are those of the rows that have elements, in order.
const names = "[...document.querySelectorAll('#rows [data-focus=name]')].map((a) => a.textContent).join(' ')"

func changeIsOneRow(t *testing.T, ctx context.Context) {
	f := statustest.Large(4, 2)
	why := reason.Text("it is in maintenance")
	f.Tell(status.Event{Kind: "server_out", Generation: 7, Upstream: "web", Addr: "10.0.0.1:80", Text: reason.Text("long"), Cause: why})
	f.Tell(status.Event{Kind: "generation", Generation: 7, Out: 1, Text: reason.Text("changed web")})
	f.Tell(status.Event{Kind: "held", Text: reason.Text("between")})
	f.Tell(status.Event{Kind: "pushed", Gateway: "edge-1", Generation: 7, TookMS: 10, Text: reason.Text("all have it")})
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		f.Tell(status.Event{Kind: "server_in", Generation: 8, Upstream: name, Addr: fmt.Sprintf("10.0.1.%d:80", i), Text: reason.Text("in")})
		f.Tell(status.Event{
			Kind: "server_out", Generation: 8, Upstream: name, Addr: fmt.Sprintf("10.0.2.%d:80", i), Text: reason.Text("out"),
			Cause: reason.Text(fmt.Sprint("why ", i)),
		})
	}
	f.Tell(status.Event{Kind: "generation", Generation: 8, In: 200, Out: 5, Text: reason.Text("changed many")})
	f.Tell(status.Event{Kind: "pushed", Gateway: "edge-1", Generation: 8, TookMS: 4.2, Text: reason.Text("all have it")})
	f.Tell(status.Event{Kind: "pushed", Gateway: "edge-2", Generation: 8, TookMS: 1200, Text: reason.Text("all have it")})
	f.Tell(status.Event{Kind: "generation", Generation: 9, Text: reason.Text("changed options")})
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	want := []string{
		"changed options",
		"a +1 −1, b +1 −1, c +1 −1, 2 more, 195 more servers · why 0 · why 1 · 3 more reasons live in 1.2 s",
		"between", "web −1 · it is in maintenance live in 10 ms",
	}
	var got []string
	b.value("[...document.querySelectorAll('#lately-list > li')].map((li) => ['.text', '.live'].map((s) => li.querySelector(s)?.textContent).filter(Boolean).join(' '))", &got)
	if !slices.Equal(got, want) {
		t.Errorf("the rows are\n%q, want\n%q", got, want)
	}
	b.click("#lately-list li:last-child summary")
	b.until("document.querySelector('#lately-list li:last-child').innerText.includes('10.0.0.1:80')")
	plain := get(t, f, "/", "").Body.String()
	got = nil
	for _, m := range regexp.MustCompile(`(?s)<span class="text">(.*?)</span>(?: <span class="live">(.*?)</span>)?`).FindAllStringSubmatch(plain, -1) {
		got = append(got, strings.TrimSpace(strings.ReplaceAll(m[1], "&#43;", "+")+" "+m[2]))
	}
	if !slices.Equal(got, want) {
		t.Errorf("without the script the rows are\n%q, want\n%q", got, want)
	}
}

// troubleFirst has what is wrong above the upstreams, and of those the worst above the others.
func troubleFirst(t *testing.T, ctx context.Context) {
	f := statustest.Incident(500)
	f.Lose("login-web", reason.Text("critical"))
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	b.until("document.querySelector('#rows [data-focus=name]')?.textContent === 'login-web'")
	b.until(`['verdict', 'unserved', 'holds', 'freezes', 'upstreams', 'gateways', 'lately', 'history'].every((id, i, all) => i === 0 ||
		document.getElementById(all[i - 1]).compareDocumentPosition(document.getElementById(id)) & Node.DOCUMENT_POSITION_FOLLOWING)`)
	var ranks []string
	b.value("[...document.querySelectorAll('#rows .col-trouble b')].map((e) => e.className)", &ranks)
	if !slices.IsSortedFunc(ranks, func(a, b string) int {
		order := []string{"held", "down", "out", "frozen", "in"}
		return slices.Index(order, a) - slices.Index(order, b)
	}) {
		t.Errorf("the rows are in order of %q", ranks)
	}
}

func holdSaysWhy(t *testing.T, ctx context.Context) {
	f := statustest.Incident(60)
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	b.shows(`All 22: check "serfHealth" of node "edge-7" is critical`)
	b.until("document.querySelector('#holds .effects li').innerText.trim() === 'cart-api 4→0'")
	b.until("document.querySelectorAll('#holds .effects .none').length === 1 && document.querySelectorAll('#holds .effects li').length === 10")
	b.shows("1 upstream would have none:")
	plain := get(t, f, "/", "").Body.String()
	for _, text := range []string{`<b>All 22:</b> check &#34;serfHealth&#34; of node &#34;edge-7&#34; is critical`, "4→0</span>"} {
		if !strings.Contains(plain, text) {
			t.Errorf("without the script %q is missing", text)
		}
	}
	b.click("#holds .effects a")
	b.until("location.hash === '#/upstream/cart-api' && document.activeElement.id === 'detail-title'")
}

// plainFirst has an error's meaning in sight, and its text behind a toggle.
func plainFirst(t *testing.T, ctx context.Context) {
	f := statustest.Incident(12)
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	const raw = "dial tcp 10.0.0.9:8081"
	b.shows("gateway edge-2 is out of sync: refuses connections")
	b.until("!document.body.innerText.includes('" + raw + "')")
	b.click("#wrong summary")
	b.shows(raw)
	b.value("document.querySelector('#wrong details').open = false", nil)
	b.click("#gateways-list .rest > summary")
	b.shows(raw)
	plain := get(t, f, "/", "").Body.String()
	if !strings.Contains(plain, `<p class="reason">gateway edge-2 is out of sync: refuses connections</p>`) || !strings.Contains(plain, raw) {
		t.Error("without the script the error is not plain first")
	}
}

func tableIsSorted(t *testing.T, ctx context.Context) {
	f := quiet()
	b := open(t, ctx, serve(t, f, "")+"/?view=table")
	b.live()
	b.until(names + ".startsWith('stock checkout search ')") // half of it is down, one of eight is out
	b.click("thead [data-focus=name]")
	b.until(names + ".startsWith('account basket ') && document.querySelector('.col-name').ariaSort === 'ascending'")
	b.until("document.activeElement.dataset.focus === 'name'")
	b.click("thead [data-focus=name]")
	b.until(names + ".startsWith('stock shipping ') && document.querySelector('.col-name').ariaSort === 'descending'")
	b.click("thead [data-focus=health]")
	b.until(names + ".startsWith('stock search checkout ')")
	b.click("thead [data-focus=since]")
	b.until(names + ".startsWith('checkout search ')") // three minutes ago, and seventy
	b.until("document.querySelector('#rows .row').innerText.includes('7/8') && document.querySelector('#rows .bar rect.out')")
	for sort, first := range map[string]string{"": "stock", "name": "account", "-name": "stock", "health": "stock", "since": "checkout"} {
		plain := get(t, f, "/?view=table&sort="+sort, "").Body.String()
		if m := regexp.MustCompile(`class="row"><th[^>]*><a [^>]*>([^<]*)<`).FindStringSubmatch(plain); m == nil || m[1] != first {
			t.Errorf("without the script the first by %q is %q, want %s", sort, m, first)
		}
	}
}

// addressHasIt opens what one tab shows in another.
func addressHasIt(t *testing.T, ctx context.Context) {
	f := quiet()
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	b.until("location.search === ''")
	b.click("input[value=table] + span")
	b.click("#search input[value=out] + span")
	b.set("#q", "e")
	b.click("thead [data-focus=name]")
	b.click("#rows .row:nth-child(2) .pick")
	b.until(names + " === 'checkout search'")
	b.shows("1 selected")
	b.until("location.search === '?q=e&state=out&sort=name&view=table&sel=search'")
	var address string
	b.value("location.href", &address)
	b.click("#rows a")
	b.until("!document.getElementById('detail').hidden && location.href === " + fmt.Sprintf("%q", address+"#/upstream/checkout"))
	other := open(t, ctx, address)
	other.live()
	other.until(names + " === 'checkout search'")
	other.until("document.querySelectorAll('#rows :checked').length === 1 && document.querySelector('#rows .chosen a').textContent === 'search'")
	other.until("document.getElementById('q').value === 'e' && document.querySelector('[name=state]:checked').value === 'out'")
	other.click("#selection [data-focus=just]")
	other.until(names + " === 'search' && location.search.includes('just=1')")
	other.click("#selection [data-focus=clear]")
	other.until(names + " === 'checkout search' && document.getElementById('selection').hidden && document.activeElement.id === 'q'")
	// What is no answer to a question is as if it was not asked.
	odd := open(t, ctx, address[:strings.Index(address, "?")]+"?view=x&sort=y&state=z")
	odd.live()
	odd.until("document.querySelectorAll('.card').length > 10")
}

func severalAreFrozen(t *testing.T, ctx context.Context) {
	f := quiet()
	b := open(t, ctx, serve(t, f, sesame)+"/?view=table&sel=basket&sel=mail&sel=nosuch")
	b.allow("404")
	b.live()
	b.signIn()
	b.click("#selection [data-focus=freeze]")
	b.shows("Freeze 3 selected?")
	b.click("dialog button.primary")
	b.shows("Froze 2 of 3.")
	b.shows(`upstream "nosuch" is not in the conf file`)
	b.shows("In sync, and frozen: basket, mail")
}

// rowsAsSeen has few elements for many rows, and each row where one scrolls or walks to it.
func rowsAsSeen(t *testing.T, ctx context.Context) {
	f := statustest.Large(2000, 10)
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	few := "document.querySelectorAll('#rows .row').length < 80 && "
	b.until(few + "document.querySelector('#table table').ariaRowCount === '2001'")
	b.value("document.getElementById('table').scrollTop = 1e9", nil)
	b.until(few + "[...document.querySelectorAll('#rows [data-focus=name]')].at(-1).textContent === 'service-01999'")
	b.until("(() => { const row = [...document.querySelectorAll('#rows .row')].at(-1).getBoundingClientRect(), box = document.getElementById('table').getBoundingClientRect(); return Math.abs(row.bottom - box.bottom) < 4; })()")
	b.value("document.querySelector('#rows .row:last-child [data-focus=name]').focus()", nil)
	b.press(kb.Home)
	b.until("document.activeElement.textContent === 'service-00000'")
	for range 40 {
		b.press(kb.ArrowDown)
	}
	b.until("document.activeElement.textContent === 'service-00040'")
	b.until(`(() => { const at = document.activeElement.getBoundingClientRect(), box = document.getElementById('table').getBoundingClientRect();
		return at.top >= box.top && at.bottom <= box.bottom && getComputedStyle(document.activeElement).outlineStyle === 'solid'; })()`)
	// The box changes its height, say for a message above it. The number of rows shows that it was drawn anew.
	b.value("window.rows = document.querySelectorAll('#rows .row').length; (box => box.style.height = box.clientHeight - 120 + 'px')(document.getElementById('table')); 0", nil)
	b.until("document.querySelectorAll('#rows .row').length < window.rows && document.activeElement.textContent === 'service-00040'")
	b.value("document.querySelector('#q').focus()", nil)
	b.set("#q", "service-01234")
	b.until(names + " === 'service-01234'")
}

// upstreamByItself follows links, back and forward, and Escape.
func upstreamByItself(t *testing.T, ctx context.Context) {
	f := quiet()
	f.Change(func(s *statustest.State) {
		s.Findings = map[string][]status.Finding{"checkout": {
			{Registry: "consul", Addr: "10.20.5.12:8080", Reason: reason.Text(`check "http" is critical; the check says "503 from /health"`)},
		}}
		s.Upstreams[4].Servers[1].Detail = reason.Text(`instance "checkout-2"`)
	})
	f.Tell(status.Event{Kind: "server_out", Generation: 13, Upstream: "checkout", Addr: "10.20.5.12:8080", Text: reason.Text("out"), Cause: reason.Text("its check fails")})
	f.Tell(status.Event{Kind: "server_out", Generation: 13, Upstream: "mail", Addr: "10.20.6.12:8080", Text: reason.Text("out")})
	f.Tell(status.Event{Kind: "pushed", Generation: 13, Gateway: "edge-1", TookMS: 10, Text: reason.Text("all have it")})
	address := serve(t, f, sesame)
	b := open(t, ctx, address+"/?q=check#/upstream/checkout")
	b.live()
	b.signIn()
	b.until("document.title.startsWith('checkout · In sync') && document.getElementById('overview').hidden")
	b.until("document.querySelectorAll('.servers tbody tr').length === 8 && document.querySelector('.servers tbody tr').innerText.includes('instance \"checkout-2\"')")
	b.shows("503 from /health")
	b.until("document.getElementById('detail-changes').innerText.includes('checkout −1 · its check fails live in 10 ms')")
	b.until("!document.getElementById('detail-changes').innerText.includes('mail')")
	b.click("#detail-actions .freeze")
	b.click("dialog button.primary")
	b.until("document.querySelector('#detail-state .frozen') && document.getElementById('detail-notes').innerText.includes('frozen · ends')")
	b.click("#detail-actions .release")
	b.until("document.querySelector('#detail-actions .freeze')")
	b.click("#back")
	b.until("document.getElementById('detail').hidden && document.querySelectorAll('.card').length === 1 && document.activeElement.textContent === 'checkout'")
	b.value("history.back()", nil)
	b.until("!document.getElementById('detail').hidden && document.activeElement.id === 'detail-title'")
	b.value("history.forward()", nil)
	b.until("document.getElementById('detail').hidden")
	b.press(kb.Enter) // its link has the focus
	b.until("!document.getElementById('detail').hidden")
	b.click("#detail-actions .freeze")
	b.until("document.querySelector('dialog[open]')")
	b.press(kb.Escape)
	b.until("!document.querySelector('dialog') && !document.getElementById('detail').hidden")
	b.press(kb.Escape)
	b.until("document.getElementById('detail').hidden")
	b.press(kb.Enter)
	b.until("!document.getElementById('detail').hidden")
	b.run(slash(kb.KeyDown), slash(kb.KeyUp))
	b.until("document.getElementById('detail').hidden && document.activeElement.id === 'q' && document.activeElement.value === 'check'")
	// It follows what happens.
	b.value("location.hash = '#/upstream/checkout'", nil)
	f.Change(lose(4, 2, reason.Text("newly out")), happening("server_out", "x"))
	b.until("document.getElementById('detail-servers').innerText.includes('newly out')")
}

func noSuchUpstream(t *testing.T, ctx context.Context) {
	b := open(t, ctx, serve(t, quiet(), "")+"/#/upstream/no%20such%3Cb%3E")
	b.allow("404")
	b.live()
	b.shows("There is no upstream “no such<b>”.")
	b.until("document.querySelectorAll('#detail h3').length === 3 && !document.querySelector('.servers')?.checkVisibility()")
	b.click("#back")
	b.until("document.getElementById('detail').hidden")
	broken := open(t, ctx, serve(t, quiet(), "")+"/#/upstream/%E0%A4%A")
	broken.allow("404")
	broken.live()
	broken.shows("There is no upstream “%E0%A4%A”.")
}

// orderOnThePhone has the upstreams right behind what is wrong, and the history folded.
func orderOnThePhone(t *testing.T, ctx context.Context) {
	b := open(t, ctx, serve(t, statustest.Incident(500), ""), size(360, 780))
	b.live()
	b.until("document.querySelector('#rows .row')")
	b.until(`['verdict', 'holds', 'freezes', 'upstreams', 'gateways', 'lately', 'history'].every((id, i, all) => i === 0 ||
		document.getElementById(all[i - 1]).getBoundingClientRect().bottom <= document.getElementById(id).getBoundingClientRect().top)`)
	b.until("!document.getElementById('history-list').checkVisibility({ contentVisibilityAuto: true }) && !document.getElementById('history-fold').open")
	b.click("nav [href='#history']")
	b.until("document.getElementById('history-fold').open")
	b.until("document.documentElement.scrollWidth <= 360")
	b.until("(() => { const rows = [...document.querySelectorAll('#rows .row')].map((r) => r.getBoundingClientRect().height); return Math.max(...rows) - Math.min(...rows) < 1; })()")
}
