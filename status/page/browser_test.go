package page_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	_ "swallowkeeper/operate" // it has all that gives reasons
	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

func TestInTheBrowser(t *testing.T) {
	browserCtx := startBrowser(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, context.Context)
	}{
		{"a change appears without a reload", changeAppears},
		{"a hold is approved", holdIsApproved},
		{"by keyboard alone", keyboardAlone},
		{"no dialog agrees by itself", noDialogAgrees},
		{"a service without a healthy server", noHealthyServer},
		{"one that is frozen is named", frozenIsNamed},
		{"what is alike is one row", alikeIsOneRow},
		{"a change is one row", changeIsOneRow},
		{"trouble comes first", troubleFirst},
		{"a hold says its cause and effect", holdSaysWhy},
		{"an error is plain first", plainFirst},
		{"the table is sorted", tableIsSorted},
		{"the address has what is shown", addressHasIt},
		{"several are frozen at once", severalAreFrozen},
		{"rows are made as they are seen", rowsAsSeen},
		{"an upstream by itself", upstreamByItself},
		{"an upstream that is not there", noSuchUpstream},
		{"the order on a phone", orderOnThePhone},
		{"the chart counts beyond the events", chartCounts},
		{"a hold hides nothing uncounted", holdHidesNothing},
		{"a rollback to the present", rollbackToThePresent},
		{"freeze and release", freezeAndRelease},
		{"a rollback shows the difference", rollbackIsDone},
		{"the difference of two generations", differenceIsShown},
		{"hostile text stays text", hostileStaysText},
		{"a lost connection is told", lostConnection},
		{"search and reasons", searchAndReasons},
		{"no scrolling sideways", noScrollingSideways},
		{"nothing serious for axe", nothingForAxe},
		{"2,000 upstreams of 10 servers", manyUpstreams},
		{"Chinese", inChinese},
		{"light and dark are not one another", lightAndDark},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, browserCtx) })
	}
	if os.Getenv("SWALLOWKEEPER_SCREENSHOTS") == "1" {
		screenshots(t, browserCtx)
	}
}

func happening(kind, text string) status.Event {
	return status.Event{Kind: kind, Text: reason.Text(text)}
}

func changeAppears(t *testing.T, ctx context.Context) {
	f := quiet()
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	b.shows("In sync: 2 gateways show generation 12")
	b.value("window.loaded = 'once'", nil)
	f.Change(lose(0, 0, reason.Text("check \"disk\" is critical")))
	f.Change(func(s *statustest.State) {
		s.Status.Gateways[1].InSync, s.Status.Gateways[1].Error = false, "edge-2 hangs"
	}, happening("server_out", "10.20.0.11:8080 of account: critical"))
	b.shows("Out of sync: 1 of 2 gateways show generation 12")
	b.shows("edge-2 hangs")
	b.shows("check \"disk\" is critical")
	b.shows("10.20.0.11:8080 of account: critical")
	b.until("window.loaded === 'once' && document.title.startsWith('Out of sync')")
}

func holdIsApproved(t *testing.T, ctx context.Context) {
	f := quiet()
	hold(f)
	b := open(t, ctx, serve(t, f, sesame))
	b.allow("401", "403")
	b.live()
	b.shows("max_removal allows 5%")
	b.click("#holds .approve")
	b.shows("Let ")
	b.click("dialog button.danger")
	b.shows("This needs a token")
	b.keys("#token", "wrong")
	b.click("dialog button.primary")
	b.shows("The answer was:")
	b.keys("#token", sesame+kb.Enter)
	b.until("document.querySelector('dialog #token')") // Enter agrees to nothing
	b.click("dialog button.primary")
	b.shows("Approved. The change goes to the gateways now.")
	b.until("document.getElementById('holds').hidden")
	b.shows("In sync: 2 gateways")
	f.Read(func(s statustest.State) {
		if len(s.Approved) != 1 || s.Approved[0] != statustest.HoldID {
			t.Errorf("approved: %q", s.Approved)
		}
	})
	var stored bool
	b.value("localStorage.length === 0 && !document.cookie", &stored)
	if !stored {
		t.Error("the token outlives the tab")
	}
}

// keyboardAlone presses Tab until Approve has the focus, then Enter, and in the dialog Tab and Enter.
func keyboardAlone(t *testing.T, ctx context.Context) {
	f := quiet()
	hold(f)
	b := open(t, ctx, serve(t, f, sesame))
	b.live()
	b.signIn()
	b.press(kb.Tab)
	b.until("document.activeElement.classList.contains('skip')")
	for range 30 {
		var there bool
		b.value("document.activeElement.classList.contains('approve')", &there)
		if there {
			break
		}
		b.press(kb.Tab)
	}
	b.until("document.activeElement.classList.contains('approve')")
	b.until("getComputedStyle(document.activeElement).outlineStyle === 'solid'")
	b.press(kb.Enter)
	b.until("document.querySelector('dialog[open]')?.contains(document.activeElement)")
	b.press(kb.Escape)
	b.until("!document.querySelector('dialog') && document.activeElement.classList.contains('approve')")
	f.Read(func(s statustest.State) {
		if len(s.Approved) != 0 {
			t.Fatal("Escape approved it")
		}
	})
	b.press(kb.Enter)
	b.until("document.activeElement.matches('dialog button.cancel')")
	b.press(kb.Enter) // Cancel has the focus
	b.until("!document.querySelector('dialog') && document.activeElement.classList.contains('approve')")
	b.press(kb.Enter)
	b.until("document.activeElement.matches('dialog button.cancel')")
	b.press(kb.Tab)
	b.until("document.activeElement.matches('dialog button.danger')")
	f.Read(func(s statustest.State) {
		if len(s.Approved) != 0 {
			t.Fatal("Enter approved it")
		}
	})
	b.press(kb.Enter)
	b.shows("Approved.")
	b.run(slash(kb.KeyDown), slash(kb.KeyUp))
	b.until("document.activeElement.id === 'q' && document.activeElement.value === ''")
}

func freezeAndRelease(t *testing.T, ctx context.Context) {
	f := quiet()
	b := open(t, ctx, serve(t, f, sesame))
	b.live()
	b.signIn()
	b.click("#freeze-all")
	b.shows("Freeze All upstreams?")
	b.click("dialog button.primary")
	b.shows("In sync, and frozen at generation 12")
	f.Read(func(s statustest.State) {
		if len(s.Frozen) != 1 || s.Frozen[0] != (status.FreezeRequest{Name: "*", For: "2h"}) {
			t.Errorf("frozen: %+v", s.Frozen)
		}
	})
	b.click("#freezes .release")
	b.shows("Released: All upstreams")
	b.until("document.getElementById('freezes').hidden")
}

func rollbackIsDone(t *testing.T, ctx context.Context) {
	f := quiet()
	b := open(t, ctx, serve(t, f, sesame))
	b.live()
	b.signIn()
	b.click("#history-list .rollback")
	b.shows("Go back to generation 11?")
	b.shows("server 10.20.5.18:8080 ")
	f.Read(func(s statustest.State) {
		if len(s.Rolled) != 0 {
			t.Fatal("rolled back before it was confirmed")
		}
	})
	b.click("dialog button.danger")
	b.shows("Rolled back: generation 13 has the upstreams of 11.")
	b.shows("The guard would have said: 9 of 82 servers would go")
	b.shows("frozen at generation 13")
	f.Read(func(s statustest.State) {
		if len(s.Rolled) != 1 || s.Rolled[0] != 11 {
			t.Errorf("rolled back: %v", s.Rolled)
		}
	})
	var damaged int
	b.value("[...document.querySelectorAll('#history-list li')].filter(l => l.innerText.includes('digest') && l.querySelector('button')).length", &damaged)
	if damaged != 0 {
		t.Error("a damaged generation can be rolled back to")
	}
}

func differenceIsShown(t *testing.T, ctx context.Context) {
	b := open(t, ctx, serve(t, quiet(), ""))
	b.live()
	b.set("#from", "9")
	b.click("#diff-form button")
	b.shows("From generation 9 to 12")
	b.shows("server 10.20.5.16:8080 ")
}

func hostileStaysText(t *testing.T, ctx context.Context) {
	f := quiet()
	f.Change(beHostile)
	b := open(t, ctx, serve(t, f, ""))
	b.live()
	b.click(".card .chip.out")
	f.Tell(happening("server_out", hostile))
	b.until("document.querySelector('#lately-list .server_out + .text').textContent.startsWith('<img')")
	b.click(".card [data-focus=why]")
	b.until("document.querySelector('#detail-checks .chip') && document.querySelector('#detail-servers .chip')")
	b.until("document.querySelectorAll('img, script:not([src]):not([type]), [onerror]').length === 0 && document.scripts.length === 2")
}

func lostConnection(t *testing.T, ctx context.Context) {
	f := quiet()
	address, stop := serveAt(t, f, "", "127.0.0.1:0")
	defer stop()
	b := open(t, ctx, "http://"+address)
	b.allow("net::ERR", "Failed to load resource")
	b.live()
	b.until("document.getElementById('lost').hidden")
	stop()
	b.shows("Connection lost since ")
	b.shows("In sync: 2 gateways") // what was true then
	f.Change(func(s *statustest.State) { s.Status.Generation.Number = 13 }, happening("generation", "generation 13"))
	_, stopAgain := serveAt(t, f, "", address)
	defer stopAgain()
	b.until("document.getElementById('lost').hidden")
	b.shows("In sync: 2 gateways show generation 13")
}

func searchAndReasons(t *testing.T, ctx context.Context) {
	b := open(t, ctx, serve(t, quiet(), ""))
	b.live()
	names := "[...document.querySelectorAll('.card h3')].map(h => h.textContent).join(' ')"
	b.keys("#q", "kernel")
	b.until(names + " === 'search'")
	b.shows("it is in maintenance: \"kernel update\"")
	b.set("#q", "")
	b.click("#search input[value=out] + span")
	b.until(names + " === 'checkout search'")
	b.click(".card .chip.in")
	b.shows("listed as usable by consul")
	b.shows("max_fails=3 fail_timeout=2s · from consul")
	b.keys("#q", "nosuch")
	b.shows("Nothing matches.")
}

func noScrollingSideways(t *testing.T, ctx context.Context) {
	f := quiet()
	hold(f)
	f.Change(lose(5, 0, reason.Text(strings.Repeat("x", 300))))
	f.Change(func(s *statustest.State) {
		s.Status.Gateways[0].Name = strings.Repeat("gateway", 30)
		s.Upstreams[5].Name = strings.Repeat("a-very-long-name", 12)
		s.Upstreams[5].Servers[0].Addr = "[fe80:1234:5678:9abc:def0:1234:5678:9abc]:65535"
	})
	b := open(t, ctx, serve(t, f, ""), size(360, 740))
	b.live()
	b.until("document.documentElement.clientWidth === 360")
	// A card does not widen the page, but would cut off what is too wide for it.
	b.until(`[document.documentElement, ...document.querySelectorAll('.card, .hold, .rows > li')].every(
		(e) => e.scrollWidth <= e.clientWidth)`)
	b.click("#history-fold summary")
	b.click("#history-list .rollback")
	b.shows("Go back to generation")
	b.until("document.querySelector('dialog').getBoundingClientRect().right <= 360")
}

// darken has everything be wrong at once.
func darken(f *statustest.Fake) {
	hold(f)
	f.Change(func(s *statustest.State) {
		s.Status.Freezes = []status.Freeze{{Name: "search"}}
		s.Status.Gateways[0].InSync, s.Status.Gateways[0].Error = false, "it hangs"
		s.Upstreams[0].Servers[0].State, s.Upstreams[0].Servers[1].State = status.Down, status.Frozen
		for i := range s.Upstreams[4].Servers {
			s.Upstreams[4].Servers[i].State, s.Upstreams[4].Servers[i].Reason = status.Out, reason.Text("it has gone")
		}
	})
	f.Lose("payment", reason.Text(`check "http" is critical`))
}

// passesAxe has axe find nothing, by all of its rules but those that are named. What passes is not described.
func (b *tab) passesAxe(where string, without ...string) {
	b.t.Helper()
	axe, err := os.ReadFile(filepath.Join("testdata", "axe.min.js"))
	if err != nil {
		b.t.Fatal(err)
	}
	rules := map[string]map[string]bool{}
	for _, rule := range without {
		rules[rule] = map[string]bool{"enabled": false}
	}
	options, err := json.Marshal(map[string]any{
		"runOnly":     []string{"wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"},
		"resultTypes": []string{"violations"}, "rules": rules,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	var faults []string
	b.value(string(axe)+"; 0", nil)
	b.value(fmt.Sprintf(`axe.run(document, %s).then(r => r.violations.map(v => v.impact + ' ' + v.id + ': ' + v.nodes.slice(0, 3).map(
		n => n.html.slice(0, 200) + ' ' + n.failureSummary).join(' | ')))`, options), &faults)
	for _, fault := range faults {
		b.t.Errorf("%s: %s", where, fault)
	}
}

// nothingForAxe has the page by day with the dialog, and by night, in Chinese, with the table and an upstream by itself, in
// each theme and width.
func nothingForAxe(t *testing.T, ctx context.Context) {
	for _, night := range []bool{false, true} {
		f, query := quiet(), "/?view=cards"
		if night {
			darken(f)
			query = "/?view=cards&lang=zh&sel=search"
		}
		few(f)
		b := open(t, ctx, serve(t, f, "")+query, bypassPolicy())
		b.live()
		for _, theme := range []string{"light", "dark"} {
			for _, width := range []int64{1440, 768, 360} {
				where := fmt.Sprintf("%s, %d wide, night %v, ", theme, width, night)
				b.run(scheme(theme), size(width, 800))
				b.until(fmt.Sprintf("matchMedia('(prefers-color-scheme: %s)').matches && document.documentElement.clientWidth === %d", theme, width))
				b.passesAxe(where + "cards")
				if night {
					b.value("document.querySelector('input[value=table]').click()", nil)
					b.until("document.querySelector('#rows .row')")
					b.passesAxe(where + "table")
					b.value("location.hash = '#/upstream/payment'", nil)
					b.until("document.querySelector('#detail-checks .rows, #detail-checks button')")
					b.passesAxe(where + "upstream")
					b.value("location.hash = '#upstreams'; document.querySelector('input[value=cards]').click()", nil)
					b.until("document.querySelector('.card')")
					continue
				}
				b.click("#history-list .rollback")
				b.until("document.querySelector('dialog .diff')")
				b.passesAxe(where + "dialog")
				b.press(kb.Escape)
				b.until("!document.querySelector('dialog')")
			}
		}
	}
}

// few leaves out upstreams that look like others: axe holds the colour of each text against all that is behind it.
func few(f *statustest.Fake) {
	kept := []string{"account", "billing", "catalog", "checkout", "delivery", "payment", "search", "stock"}
	f.Change(func(s *statustest.State) {
		s.Upstreams = slices.DeleteFunc(s.Upstreams, func(u status.Upstream) bool { return !slices.Contains(kept, u.Name) })
	})
}

// manyUpstreams: what one types finds its row of 2,000, and a change draws nothing anew but the upstream it is of.
// BenchmarkPage has how long that takes.
func manyUpstreams(t *testing.T, ctx context.Context) {
	for view, c := range map[string]struct{ element, some, late string }{
		"cards": {".card", "=== 100", ".card:first-child .why"},
		"table": {"#rows .row", "> 20", "#rows .row:first-child .col-trouble"},
	} {
		f := statustest.Large(2000, 10)
		b := open(t, ctx, serve(t, f, "")+"/?view="+view)
		b.live()
		b.set("#q", "service-01999")
		b.until("document.querySelectorAll('" + c.element + "').length === 1")
		b.set("#q", "")
		b.until("document.querySelectorAll('" + c.element + "').length " + c.some)
		// A change of one upstream leaves the elements of the others where they are; that one is the first now.
		b.value("window.kept = document.querySelector('"+c.element+":nth-child(5)'); 0", nil)
		f.Change(lose(2, 0, reason.Text("check \"early\" is critical")), happening("server_out", "early"))
		b.until("document.querySelector('" + c.late + "')?.innerText.includes('check \"early\" is critical')")
		b.until("window.kept.isConnected")
		if view == "cards" {
			f.Change(lose(1999, 0, reason.Text("check \"late\" is critical")), happening("server_out", "late"))
			b.shows("check \"late\" is critical")
		}
	}
}

func inChinese(t *testing.T, ctx context.Context) {
	f := quiet()
	hold(f)
	b := open(t, ctx, serve(t, f, "")+"/?lang=zh&view=cards")
	b.live()
	b.shows("已拦截：")
	b.shows("批准")
	b.until("document.documentElement.lang === 'zh-Hans'")
	b.shows("台服务器中有") // why it is held
	// Each phrase that there is, as a server's reason.
	var want []string
	var said []status.Upstream
	for i, p := range reason.All() {
		var args []any
		for j := range p.Blanks {
			args = append(args, fmt.Sprintf("x%d-%d", i, j))
		}
		r := p.With(args...)
		if i == 0 {
			r = reason.Join(reason.Text(`"a; b {n}"`), r)
		}
		want = append(want, r.In(reason.Chinese))
		said = append(said, status.Upstream{Name: fmt.Sprintf("a-%03d", i), Servers: []status.Server{
			{Addr: "10.0.0.1:80", State: status.Out, Reason: r, Code: r.Code()},
		}})
	}
	if len(want) < 150 {
		t.Errorf("only %d phrases were found", len(want))
	}
	out := said[0].Servers[0].Reason
	f.Change(func(s *statustest.State) { s.Upstreams = append(s.Upstreams, said...) }, status.Event{Kind: "server_out", Text: out})
	b.shows(want[0])
	list, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	// The upstreams are read a moment after the event.
	b.until(fmt.Sprintf("(document.querySelector('#more button')?.click(), !document.querySelector('#more button') && document.querySelectorAll('.card').length > %d)", len(want)))
	var missing []string
	b.value(fmt.Sprintf("(%s).filter((text) => !document.getElementById('grid').textContent.includes(text))", list), &missing)
	if len(missing) > 0 {
		t.Errorf("the script does not say %q", missing)
	}
	for _, english := range []string{"Held", "Approve", "Gateways", "in sync", "ago", "Roll back", "Search"} {
		var seen bool
		b.value(fmt.Sprintf("document.body.innerText.includes(%q)", english), &seen)
		if seen {
			t.Errorf("%q is on the Chinese page", english)
		}
	}
}

func lightAndDark(t *testing.T, ctx context.Context) {
	address := serve(t, quiet(), "")
	colours := map[string]string{}
	for _, theme := range []string{"light", "dark"} {
		b := open(t, ctx, address, scheme(theme))
		var colour string
		b.value("getComputedStyle(document.body).backgroundColor", &colour)
		colours[colour] = theme
	}
	if len(colours) != 2 {
		t.Errorf("backgrounds: %v", colours)
	}
}
