// Package page serves the operator's page at "/": one document with its style and script, embedded in the binary. The
// page works without the script, rendered from [status.Daemon] at each request. The script keeps it live through the
// API, and sends approvals, freezes and rollbacks there. The package itself changes nothing. Whatever comes from a
// registry is shown as text.
package page

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"sync"
	texttemplate "text/template"
	"time"

	"swallowkeeper/status"
)

//go:embed page.html page.css text.json js/*.js
var files embed.FS

// policy allows the page's own style, script and API, and nothing else. Scripts can't create markup from text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'self'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// handler serves the page.
type handler struct {
	daemon    status.Daemon
	texts     table
	templates map[string]func() *template.Template // by language
}

// New returns a handler for the page of a daemon at "/", its style at "/page.css", and its script modules below "/js/".
func New(daemon status.Daemon) http.Handler {
	// Templates are parsed on first use, per language, to save memory.
	h := &handler{daemon: daemon, texts: loadTexts(), templates: map[string]func() *template.Template{}}
	for _, language := range languages {
		h.templates[language] = sync.OnceValue(func() *template.Template {
			return template.Must(template.New("page").Funcs(h.texts.funcs(language)).Parse(string(read("page.html"))))
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.page)
	mux.Handle("GET /page.css", asset("text/css; charset=utf-8", read("page.css")))
	scripts, err := fs.Glob(files, "js/*.js")
	if err != nil {
		panic(err)
	}
	for _, name := range scripts {
		mux.Handle("GET /"+name, asset("text/javascript; charset=utf-8", read(name)))
	}
	return mux
}

// page writes while it renders: a page may be megabytes, and many may be requested at once.
func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	language := chooseLanguage(r)
	protect(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", htmlLanguage(language))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Vary", "Accept-Language")
	switch err := h.templates[language]().Execute(w, h.view(language, r.URL.Query())).(type) { //nolint:errorlint // it wraps no errors
	case nil:
	case texttemplate.ExecError:
		panic(err) // this ends up in the log
	default:
		panic(http.ErrAbortHandler) // the client is gone
	}
}

// asset serves one file of the page. Browsers revalidate it at every load, so that a new program never meets an old
// script.
func asset(contentType string, content []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protect(w.Header())
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "no-store")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
}

func protect(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// read returns an embedded file. It always exists.
func read(name string) []byte {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return content
}
