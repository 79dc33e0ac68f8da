package page_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/sirupsen/logrus"

	"swallowkeeper/status"
	"swallowkeeper/status/page"
	"swallowkeeper/status/statustest"
)

// step is what a tab is told to do.
type step = chromedp.Action[chromedp.Void]

// command is a step of the browser's own protocol.
func command[P, R any](c cdp.Command[P, R], params P) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// sesame is the token.
const sesame = "open sesame, open sesame"

// patience is how long a test waits for what must come.
const patience = time.Minute

// tab is a page in a browser, with what it complained of.
type tab struct {
	t   testing.TB
	ctx context.Context //nolint:containedctx // a tab is its context, as chromedp has it

	mu       sync.Mutex
	troubles []string
	dialogs  int
	allowed  []string // parts of complaints that belong to the test
}

// chromium finds the browser, or skips; in CI there must be one.
func chromium(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("CHROME_BIN"); path != "" {
		return path
	}
	for _, name := range []string{
		"chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
	} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const message = "no Chromium or Chrome here: install one, or name it in CHROME_BIN"
	if os.Getenv("CI") == "true" {
		t.Fatal(message)
	}
	t.Skip(message)
	return ""
}

// startBrowser starts one browser for all tabs of a test. It can reach this machine alone.
func startBrowser(t testing.TB, env ...string) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Env(env...), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(60*time.Second),
		chromedp.Flag("no-proxy-server", true), chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(cancel)
	// It reports events that it is too old to know as errors; true ones are returned.
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	return ctx
}

// open loads an address in a tab of its own. At the end nothing may have gone wrong in it.
func open(t testing.TB, browserCtx context.Context, address string, before ...step) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browserCtx)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	err := chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.troubles = append(b.troubles, (&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
		case *runtime.EventConsoleAPICalled:
			b.troubles = append(b.troubles, fmt.Sprintf("console.%s %s", e.Type, e.Args[0].Value))
		case *log.EventEntryAdded:
			b.troubles = append(b.troubles, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
		case *cdppage.EventJavascriptDialogOpening:
			b.dialogs++
			go func() {
				_ = chromedp.Do(ctx, command(cdppage.HandleJavaScriptDialog, cdppage.HandleJavaScriptDialogParams{}))
			}()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.dialogs > 0 {
			t.Errorf("a text opened a dialog")
		}
		for _, trouble := range b.troubles {
			known := false
			for _, part := range b.allowed {
				known = known || strings.Contains(trouble, part)
			}
			if !known {
				t.Errorf("the browser complains: %s", trouble)
			}
		}
	})
	b.run(append([]step{size(1280, 900)}, before...)...)
	b.run(chromedp.Navigate(address))
	return b
}

func (b *tab) run(steps ...step) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%v\n%s", err, b.text())
	}
}

// text is what can be seen, for messages.
func (b *tab) text() string {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("(document.querySelector('dialog') ?? document.body).innerText"))
	return text[:min(len(text), 3000)]
}

// until waits until an expression is true.
func (b *tab) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool]("!!("+expression+")",
		chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(patience))); err != nil {
		b.t.Fatalf("%s: %v\n%s", expression, err, b.text())
	}
}

func (b *tab) shows(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// signIn gives the tab the token, as its dialog would.
func (b *tab) signIn() {
	b.t.Helper()
	b.value(fmt.Sprintf("sessionStorage.setItem('swallowkeeper-token', %q)", sesame), nil)
}

// live waits until the script has read everything.
func (b *tab) live() {
	b.t.Helper()
	b.until("document.documentElement.dataset.live === 'true'")
}

func (b *tab) click(selector string) {
	b.t.Helper()
	b.run(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// set fills in a field as a person does.
func (b *tab) set(selector, value string) {
	b.t.Helper()
	b.value(fmt.Sprintf(`(() => {
		const field = document.querySelector(%q);
		field.value = %q;
		field.dispatchEvent(new Event('input', { bubbles: true }));
	})()`, selector, value), nil)
}

// value reads what an expression is; into may be nil. A promise is waited for.
func (b *tab) value(expression string, into any) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if into == nil {
		b.run(chromedp.Evaluate[chromedp.Void](expression))
		return
	}
	text, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", expression[:min(len(expression), 200)], err, b.text())
	}
}

// keys types into a field.
func (b *tab) keys(selector, text string) {
	b.t.Helper()
	b.run(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// press presses a key, wherever the focus is.
func (b *tab) press(key string) {
	b.t.Helper()
	b.run(chromedp.KeyEvent(key))
}

func (b *tab) allow(parts ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.allowed = append(b.allowed, parts...)
}

// serve serves the page of a daemon on loopback.
func serve(t testing.TB, f *statustest.Fake, token string) string {
	t.Helper()
	address, stop := serveAt(t, f, token, "127.0.0.1:0")
	t.Cleanup(stop)
	return "http://" + address
}

// serveAt is serve at an address that can be used again.
func serveAt(t testing.TB, f *statustest.Fake, token, address string) (string, func()) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	site, err := status.Listen(status.Config{Address: address, Token: token}, f,
		status.Parts{Page: page.New(f), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error)
	go func() { done <- site.Serve(ctx) }()
	return strings.TrimSuffix(strings.TrimPrefix(site.URL(), "http://"), "/"), sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func scheme(name string) step {
	return command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
}

func size(width, height int64) step {
	return command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600,
	})
}

// slash is the key that goes to the search.
func slash(event input.DispatchKeyEventType) step {
	return command(input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: event, Key: "/", Code: "Slash", Text: "/"})
}

// bypassPolicy lets axe into the page.
func bypassPolicy() step {
	return command(cdppage.SetBypassCSP, cdppage.SetBypassCSPParams{Enabled: true})
}
