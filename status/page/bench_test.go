package page_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"

	"swallowkeeper/status/statustest"
)

// BenchmarkPage opens the page of 2,000 upstreams of ten servers in Chromium, in a tab of its own each time, and filters them.
// It reports medians: until the first paint with something to read, until the script shows what is now, and from a typed
// filter to the frame that shows it, down to one upstream and back to all.
func BenchmarkPage(b *testing.B) {
	ctx := startBrowser(b)
	for _, view := range []struct{ name, element string }{{"cards", ".card"}, {"table", "#rows .row"}} {
		b.Run(view.name, func(b *testing.B) {
			address := serve(b, statustest.Large(2000, 10), "") + "/?view=" + view.name
			took := map[string][]float64{}
			measure := func(t *tab, what, expression string) {
				var ms float64
				t.value(expression, &ms)
				took[what] = append(took[what], ms)
			}
			for b.Loop() {
				t := open(b, ctx, address)
				t.live()
				measure(t, "first-paint", "performance.getEntriesByName('first-contentful-paint')[0].startTime")
				measure(t, "live", "performance.now()")
				for _, f := range []struct{ what, text, shown string }{{"filter", "service-01999", "=== 1"}, {"all", "", "> 20"}} {
					measure(t, f.what, fmt.Sprintf(`new Promise((done) => {
						const q = document.getElementById('q'), began = performance.now();
						const seen = () => document.querySelectorAll(%q).length %s ? done(performance.now() - began) : requestAnimationFrame(seen);
						q.value = %q;
						q.dispatchEvent(new Event('input', { bubbles: true }));
						requestAnimationFrame(() => requestAnimationFrame(seen));
					})`, view.element, f.shown, f.text))
				}
				if err := chromedp.Cancel(t.ctx); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(0, "ns/op")
			for what, all := range took {
				slices.Sort(all)
				b.ReportMetric(all[len(all)/2], what+"-ms")
			}
		})
	}
}
