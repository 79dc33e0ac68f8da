package page_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"swallowkeeper/status/statustest"
)

// screenshots writes those that the documentation shows into docs/images, and the others, which are to be looked at,
// into the folder that SWALLOWKEEPER_SCREENSHOTS_ALL names.
func screenshots(t *testing.T, ctx context.Context) {
	held := func() *statustest.Fake {
		f := quiet()
		hold(f)
		f.Change(func(s *statustest.State) {
			s.Status.Holds[0].Since = time.Now().Add(-8 * time.Minute)
		})
		return f
	}
	incident := func() *statustest.Fake { return statustest.Incident(500) }
	for _, shot := range []struct {
		name, theme, at string
		width, height   int64
		daemon          func() *statustest.Fake
		shown           bool // by the documentation
	}{
		{"page-light.png", "light", "", 1280, 900, held, true},
		{"page-dark.png", "dark", "", 1280, 900, quiet, false},
		{"page-phone.png", "light", "", 360, 780, incident, false},
		{"page-zh.png", "light", "?lang=zh", 1280, 900, held, true},
		{"page-incident.png", "light", "", 1280, 1000, incident, true},
		{"page-incident-dark.png", "dark", "", 1440, 1400, incident, false},
		{"page-upstream.png", "light", "#/upstream/checkout", 1280, 900, quiet, true},
		{"page-upstream-phone.png", "dark", "#/upstream/checkout", 360, 1200, quiet, false},
		{"page-phone-all.png", "light", "", 360, 2600, incident, false},
		{"page-zh-incident.png", "light", "?lang=zh&sel=cart-api&sel=mail-web", 768, 1600, incident, false},
	} {
		folder := filepath.Join("..", "..", "docs", "images")
		if !shot.shown {
			if folder = os.Getenv("SWALLOWKEEPER_SCREENSHOTS_ALL"); folder == "" {
				continue
			}
		}
		b := open(t, ctx, serve(t, shot.daemon(), "")+"/"+shot.at, scheme(shot.theme), size(shot.width, shot.height))
		b.live()
		image, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if shot.shown && len(image) > 200_000 {
			t.Errorf("%s has %d bytes", shot.name, len(image))
		}
		if err := os.WriteFile(filepath.Join(folder, shot.name), image, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
