// Package page is the operator's page at "/": one document with its style and script, out of the
// binary. It is whole without the script, from what [status.Daemon] says when it is asked; the script
// keeps it live through the API beside it and asks for approvals, freezes and rollbacks there. It
// changes nothing by itself. Whatever comes from a registry is shown as text.
package page

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"sync"
	texttemplate "text/template"
	"time"

	"swallowkeeper/status"
)

//go:embed page.html page.css page.js text.json said.json
var files embed.FS

// policy lets the page have its own style, script and API, and nothing else. No script may make
// markup out of text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'self'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// handler answers with the page.
type handler struct {
	daemon    status.Daemon
	texts     table
	said      func() phrases
	templates map[string]func() *template.Template // by language
}

// New returns what serves the page of a daemon, at "/", and its parts at "/page.css" and "/page.js".
func New(daemon status.Daemon) http.Handler {
	// What takes memory is made when somebody looks, and in the language that it is for.
	h := &handler{
		daemon: daemon, texts: loadTexts(), said: sync.OnceValue(loadPhrases), templates: map[string]func() *template.Template{},
	}
	for _, language := range languages {
		h.templates[language] = sync.OnceValue(func() *template.Template {
			page := template.New("page").Funcs(h.texts.funcs(language))
			return template.Must(page.Funcs(template.FuncMap{"said": h.saying(language)}).Parse(string(read("page.html"))))
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.page)
	mux.Handle("GET /page.css", asset("text/css; charset=utf-8", read("page.css")))
	mux.Handle("GET /page.js", asset("text/javascript; charset=utf-8", read("page.js")))
	return mux
}

// saying puts what the daemon says into a language of the page.
func (h *handler) saying(language string) func(string) string {
	if language == english {
		return func(text string) string { return text }
	}
	return func(text string) string { return h.said().inChinese(text) }
}

// page writes as it goes: a page may be megabytes, and many may be asked for at once.
func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	language := chooseLanguage(r)
	protect(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", htmlLanguage(language))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Vary", "Accept-Language")
	switch err := h.templates[language]().Execute(w, h.view(language, r.URL.Query())).(type) { //nolint:errorlint // it wraps none of its own
	case nil:
	case texttemplate.ExecError:
		panic(err) // the log is told
	default:
		panic(http.ErrAbortHandler) // the reader has gone
	}
}

// asset serves one file of the page. It is asked for again with every load, so that a new program
// never meets an old script.
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

// read returns one of the embedded files, which the compiler has made sure of.
func read(name string) []byte {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return content
}
