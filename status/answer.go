package status

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// show answers with the result of f, or its error. Its timeout leaves time to write the answer.
func show(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
		defer cancel()
		value, err := f(r.WithContext(ctx))
		if err != nil {
			fail(w, code(err), err.Error())
			return
		}
		answer(w, r, http.StatusOK, value)
	}
}

// answer writes JSON, compressed if the client accepts that.
func answer(w http.ResponseWriter, r *http.Request, code int, value any) {
	text, err := json.Marshal(whole(value, language(r)))
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	body, end := begin(w, r, code, len(text) >= gzipMin)
	_, _ = body.Write(append(text, '\n'))
	end()
}

// answerEach writes an object with one list, encoding one element at a time: the whole list may be megabytes.
func answerEach[E any](w http.ResponseWriter, r *http.Request, name string, list iter.Seq[E]) {
	body, end := begin(w, r, http.StatusOK, true)
	_, _ = fmt.Fprintf(body, "{%q:[", name)
	encoder, separator, in := json.NewEncoder(body), "", language(r)
	for e := range list {
		_, _ = io.WriteString(body, separator)
		if encoder.Encode(whole(e, in)) != nil {
			panic(http.ErrAbortHandler) // the client is gone
		}
		separator = ","
	}
	_, _ = io.WriteString(body, "]}\n")
	end()
}

// begin writes the header of a JSON answer. What is written to body is compressed if the client accepts that and it is
// worth it. Call end after the last write.
func begin(w http.ResponseWriter, r *http.Request, code int, worth bool) (body io.Writer, end func()) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Add("Vary", "Accept-Encoding")
	if !worth || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.WriteHeader(code)
		return w, func() {}
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(code)
	z, _ := gzip.NewWriterLevel(w, gzip.StatelessCompression) // fails only for an unknown level
	buffered := bufio.NewWriterSize(z, gzipBuffer)
	return buffered, func() {
		_, _ = buffered.Flush(), z.Close() // write errors mean that the client is gone
	}
}

const (
	// gzipMin is the size from which an answer is compressed.
	gzipMin = 2048
	// gzipBuffer is how much is compressed at a time. Stateless compression keeps nothing beyond that, while the
	// default compressor needs more than a megabyte per answer.
	gzipBuffer = 32 << 10
)

// failure is the JSON form of every error.
type failure struct {
	Error string `json:"error"`
}

func fail(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(failure{text})
}

// code returns the HTTP status for an error.
func code(err error) int {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrConflict):
		return http.StatusConflict
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}
