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

// show answers with what f returns, or with its error. It leaves time to write either.
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

// answer writes JSON, and compressed where that is understood.
func answer(w http.ResponseWriter, r *http.Request, code int, value any) {
	text, err := json.Marshal(whole(value))
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	body, end := begin(w, r, code, len(text) >= worthZipping)
	_, _ = body.Write(append(text, '\n'))
	end()
}

// answerEach writes an object with one list, an element at a time: all of it at once may be megabytes.
func answerEach[E any](w http.ResponseWriter, r *http.Request, name string, list iter.Seq[E]) {
	body, end := begin(w, r, http.StatusOK, true)
	_, _ = fmt.Fprintf(body, "{%q:[", name)
	encoder, separator := json.NewEncoder(body), ""
	for e := range list {
		_, _ = io.WriteString(body, separator)
		if encoder.Encode(whole(e)) != nil {
			panic(http.ErrAbortHandler) // the reader has gone
		}
		separator = ","
	}
	_, _ = io.WriteString(body, "]}\n")
	end()
}

// begin writes the head of an answer in JSON. What is written to body is compressed where that
// is understood and worth it; end is for when all is written.
func begin(w http.ResponseWriter, r *http.Request, code int, worth bool) (body io.Writer, end func()) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Add("Vary", "Accept-Encoding")
	if !worth || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.WriteHeader(code)
		return w, func() {}
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(code)
	z, _ := gzip.NewWriterLevel(w, gzip.StatelessCompression) // it fails only for a level that there is not
	buffered := bufio.NewWriterSize(z, zippedAtOnce)
	return buffered, func() {
		_, _ = buffered.Flush(), z.Close() // what fails has failed because the reader has gone
	}
}

const (
	// worthZipping is from how many bytes on an answer is compressed.
	worthZipping = 2048
	// zippedAtOnce is what is compressed together. The writer remembers nothing beyond it, while that of
	// the standard library has more than a megabyte for each answer.
	zippedAtOnce = 32 << 10
)

// failure is the JSON of every error.
type failure struct {
	Error string `json:"error"`
}

func fail(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(failure{text})
}

// code is the status of an error.
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
