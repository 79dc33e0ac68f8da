package page_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// families are where Debian has single ones. A bare machine mostly has the first alone; without any font
// the browser does not start.
var families = map[string]string{
	"DejaVu alone":     "/usr/share/fonts/truetype/dejavu",
	"Liberation alone": "/usr/share/fonts/truetype/liberation",
}

// TestFonts has the page be right with other fonts than this machine's: targets are high enough and
// nothing is cut off, whatever the browser falls back to.
func TestFonts(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	for name, folder := range families {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(folder); err != nil {
				t.Skipf("%s is not there: scripts/setup-tests.sh installs it on Debian", folder)
			}
			ctx := startBrowser(t, "FONTCONFIG_FILE="+fontconfig(t, folder))
			f := quiet()
			darken(f)
			for _, language := range []string{"en", "zh"} {
				b := open(t, ctx, serve(t, f, "")+"/?lang="+language, scheme("light"), size(360, 800), bypassPolicy())
				b.live()
				where := name + ", " + language
				b.passesAxe(where+", page", "color-contrast")
				var low []string
				b.value(`[...document.querySelectorAll('a, button, summary, select, input')].filter((e) => {
					const box = e.getBoundingClientRect();
					return e.checkVisibility() && (box.height < 24 || box.width < 24);
				}).map((e) => e.outerHTML.slice(0, 120))`, &low)
				if len(low) > 0 {
					t.Errorf("%s: smaller than 24 px: %q", where, low)
				}
				b.until("document.documentElement.scrollWidth <= 360")
				b.value("document.querySelector('input[value=table]').click()", nil)
				b.until("document.querySelector('#rows .row')")
				b.passesAxe(where+", table", "color-contrast")
				b.click("#rows .row:nth-child(2) a")
				b.until("document.querySelector('#detail-checks .rows, #detail-checks button')")
				b.passesAxe(where+", upstream", "color-contrast")
				b.until("document.documentElement.scrollWidth <= 360")
				b.value("location.hash = '#history'; document.getElementById('history-fold').open = true", nil)
				b.click("#history-list .rollback")
				b.until("document.querySelector('dialog .diff')")
				b.passesAxe(where+", dialog", "color-contrast")
			}
		})
	}
}

// fontconfig is a configuration that knows the fonts of one folder.
func fontconfig(t *testing.T, folder string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "fonts.conf")
	text := fmt.Sprintf(`<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>%s</dir><cachedir>%s</cachedir></fontconfig>`, folder, filepath.Join(dir, "cache"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
