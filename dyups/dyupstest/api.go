package dyupstest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// headerBuffer is what nginx reads at once while it waits for a request's head.
	headerBuffer = 1024
	// bodyBuffer is client_body_buffer_size. A body of which more than that and a quarter
	// comes behind the first read goes through a file.
	bodyBuffer = 8 << 10
	// smallChunk is the longest chunk that nginx adds to one that came in the same read.
	smallChunk = 128
	// maxBody and maxURI are nginx's own limits.
	maxBody = 1 << 20
	maxURI  = 8000
)

// answer is what a call gets.
type answer struct {
	status int
	body   string
	page   bool // an error page of nginx itself rather than an answer of the module
	gone   bool // the worker died of it: no answer at all
	silent bool // the connection is closed instead
}

// serveAPI answers the calls of one connection until either side ends it.
func (w *worker) serveAPI(c net.Conn) {
	defer func() { _ = c.Close() }()
	defer w.drop(c)
	in := bufio.NewReaderSize(c, headerBuffer)
	for w.hold(c, true); ; w.hold(c, false) { // a reload lets a new connection make its first call
		r, err := http.ReadRequest(in)
		if err != nil {
			if malformed(err) {
				w.reply(c, nil, answer{status: http.StatusBadRequest, page: true}, faults{})
				linger(c)
			}
			return
		}
		w.hold(c, true)
		if !w.serving() {
			return
		}
		a, f, sane := w.call(c, in, r)
		if a.status == 0 || !w.serving() || !w.reply(c, r, a, f) {
			return
		}
		if !sane {
			linger(c)
			return
		}
		if r.Close || w.leaving() {
			return
		}
	}
}

// linger reads what a client still sends, for a while, so that it gets the answer
// rather than a reset.
func linger(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, io.LimitReader(c, 8*maxBody))
}

// malformed reports whether a request could not be read because of what it says,
// rather than because its connection ended.
func malformed(err error) bool {
	var broken *net.OpError
	return !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed) &&
		!errors.As(err, &broken)
}

// call reads the rest of a request and answers it. It reports false where the
// connection cannot go on.
func (w *worker) call(c net.Conn, in *bufio.Reader, r *http.Request) (a answer, f faults, sane bool) {
	path, ok := elements(r.RequestURI)
	switch {
	case !ok, r.ProtoAtLeast(1, 1) && r.Host == "":
		return answer{status: http.StatusBadRequest, page: true}, f, false
	case len(r.RequestURI) > maxURI:
		return answer{status: http.StatusRequestURITooLong, page: true}, f, false
	case r.ContentLength > maxBody:
		return answer{status: http.StatusRequestEntityTooLarge, page: true}, f, false
	case r.Method == http.MethodTrace:
		return answer{status: http.StatusMethodNotAllowed, page: true}, f, false
	}
	if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	body, err := readBody(c, in, r)
	if err != nil {
		return a, f, false
	}
	f, ok = w.server.fault(w, r.Method)
	if !ok {
		return answer{gone: true}, f, false
	}
	if f.fail != nil {
		a = *f.fail
	} else {
		a = w.answer(r.Method, path, body)
	}
	w.server.note(w, r, body, a)
	return a, f, true
}

// elements splits a path as nginx and the module do together: decoded, slashes merged,
// dots resolved. It reports false for a path that nginx refuses.
func elements(uri string) ([]string, bool) {
	if rest, ok := strings.CutPrefix(uri, "http://"); ok {
		_, path, _ := strings.Cut(rest, "/")
		uri = "/" + path
	}
	uri, _, _ = strings.Cut(uri, "?")
	path, err := url.PathUnescape(uri)
	if err != nil || !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) {
		return nil, false
	}
	var list []string
	for e := range strings.SplitSeq(path, "/") {
		switch e {
		case "", ".":
		case "..":
			if len(list) == 0 {
				return nil, false
			}
			list = list[:len(list)-1]
		default:
			list = append(list, e)
		}
	}
	return list, true
}

// readBody reads a body as the module sees it, nil where the request says nothing of
// one. The module joins the first two buffers of a body that is held in memory and
// forgets the rest: what arrives in more than two reads or chunks is cut.
func readBody(c net.Conn, in *bufio.Reader, r *http.Request) (*string, error) {
	var pieces []string
	var held bool
	var err error
	switch {
	case len(r.TransferEncoding) > 0:
		pieces, err = readChunks(in)
		held = len(strings.Join(pieces, "")) <= bodyBuffer
	case r.Header.Get("Content-Length") == "":
		return nil, nil //nolint:nilnil // no body and an empty one get different answers
	default:
		rest := int(r.ContentLength)
		held = rest-in.Buffered() < bodyBuffer*5/4
		pieces, err = readPieces(c, in, rest)
	}
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if held && len(pieces) > 2 {
		pieces = pieces[:2]
	}
	body := strings.Join(pieces, "")
	return &body, nil
}

// readPieces reads what came with the head as one piece, and then one a read.
func readPieces(c net.Conn, in *bufio.Reader, rest int) ([]string, error) {
	var pieces []string
	for rest > 0 {
		var src io.Reader = c
		if in.Buffered() > 0 {
			src = in
		}
		piece := make([]byte, rest)
		n, err := src.Read(piece)
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, string(piece[:n]))
		rest -= n
	}
	return pieces, nil
}

// readChunks reads a chunked body, a piece for each chunk and each read.
func readChunks(in *bufio.Reader) ([]string, error) {
	var pieces []string
	total := 0
	for {
		there := in.Buffered()
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		text, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		size, err := strconv.ParseUint(text, 16, 32)
		if err != nil {
			return nil, err
		}
		if total += int(size); total > maxBody {
			return nil, errors.New("the body is too long")
		}
		small := size <= smallChunk && len(pieces) > 0 && len(line)+int(size) <= there
		for rest := int(size); rest > 0; {
			piece := make([]byte, rest)
			n, err := in.Read(piece)
			if err != nil {
				return nil, err
			}
			if rest -= n; small {
				pieces[len(pieces)-1] += string(piece[:n])
			} else {
				pieces = append(pieces, string(piece[:n]))
			}
		}
		if _, err := in.ReadString('\n'); err != nil || size == 0 {
			return pieces, err
		}
	}
}

// answer does what the module does with a call.
func (w *worker) answer(method string, path []string, body *string) answer {
	w.mu.Lock()
	a := w.dispatch(method, path, body)
	w.mu.Unlock()
	if a.gone {
		w.server.replace(w)
	}
	return a
}

func (w *worker) dispatch(method string, path []string, body *string) answer {
	of := ""
	if len(path) > 0 {
		of = strings.ToLower(path[0])
	}
	switch method {
	case http.MethodGet:
		w.tryRead()
		select {
		case w.asked <- struct{}{}:
		default:
		}
		return w.getAnswer(of, path)
	case http.MethodDelete:
		switch {
		case len(path) != 2:
			return answer{status: http.StatusMethodNotAllowed, body: "not support this interface"}
		case of != "upstream":
			return answer{status: http.StatusMethodNotAllowed, body: "not support this api"}
		}
		return w.deleteAnswer(path[1])
	case http.MethodPost:
		switch {
		case body == nil:
			return answer{status: http.StatusNoContent, body: "no content\n"}
		case len(path) != 2:
			return answer{status: http.StatusNotFound, body: "not support this interface"}
		case of != "upstream":
			return answer{status: http.StatusNotFound, body: "not support this api"}
		}
		return w.postAnswer(path[1], *body)
	default:
		return answer{status: http.StatusMethodNotAllowed}
	}
}

func (w *worker) getAnswer(of string, path []string) answer {
	var text string
	switch {
	case of == "":
		return answer{status: http.StatusNotFound, page: true}
	case of == "list":
		text = w.list()
	case of == "detail" && !w.server.options.NoDetail:
		text = w.detail()
	case of == "upstream" && len(path) == 2:
		for _, s := range w.static { // the first of a name that it finds
			if fold(s.Name) == fold(path[1]) {
				for _, srv := range s.Servers {
					addr, _, _ := strings.Cut(srv, " ")
					text += "server " + addr + "\n"
				}
				return answer{status: http.StatusOK, body: text}
			}
		}
		s := w.get(path[1])
		if s == nil {
			return answer{status: http.StatusNotFound}
		}
		var b strings.Builder
		for _, srv := range s.block.servers {
			b.WriteString("server " + address(srv) + "\n")
		}
		text = b.String()
	default:
		return answer{status: http.StatusNotFound}
	}
	if text == "" {
		return answer{status: http.StatusNoContent}
	}
	return answer{status: http.StatusOK, body: text}
}

// lock takes the queue for a change. With trylock it reports false where another
// worker has it.
func (w *worker) lock() bool {
	if w.server.options.TryLock {
		return w.queue.mu.TryLock()
	}
	w.queue.mu.Lock()
	return true
}

func (w *worker) deleteAnswer(name string) answer {
	if !w.lock() {
		// The module forgets to say what its answer is, and nginx gives up on it.
		return answer{silent: true}
	}
	defer w.queue.mu.Unlock()
	w.read()
	switch {
	case !w.remove(name):
		return answer{status: http.StatusNotFound, body: "not found uptream"}
	case !w.queue.send(w, name, nil):
		return answer{
			status: http.StatusInternalServerError,
			body:   "alert: delte success but not sync to other process",
		}
	}
	return answer{status: http.StatusOK, body: "success"}
}

func (w *worker) postAnswer(name, body string) answer {
	if !w.lock() {
		return answer{status: http.StatusConflict, body: "wait and try again\n"}
	}
	defer w.queue.mu.Unlock()
	w.read()
	refused := answer{status: http.StatusInternalServerError, body: "add server failed"}
	b, err := parseBody(body, w.server.options.Variables)
	switch {
	case errors.Is(err, errDeadly):
		return answer{gone: true}
	case errors.Is(err, errPoison):
		w.poisoned = true
	}
	w.try()
	if err != nil || w.poisoned {
		return refused
	}
	w.update(name, b)
	if !w.queue.send(w, name, b) {
		return answer{
			status: http.StatusInternalServerError,
			body:   "alert: update success but not sync to other process",
		}
	}
	return answer{status: http.StatusOK, body: "success"}
}

// reply writes an answer and reports whether the connection can go on.
func (w *worker) reply(c net.Conn, r *http.Request, a answer, f faults) bool {
	text := http.StatusText(a.status)
	if a.status == http.StatusMethodNotAllowed {
		text = "Not Allowed"
	}
	body := a.body
	if a.page {
		body = fmt.Sprintf("<html>\n<head><title>%d %s</title></head>\n</html>\n", a.status, text)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nServer: Tengine\r\nDate: %s\r\n", a.status, text,
		time.Now().UTC().Format(http.TimeFormat))
	if a.page {
		b.WriteString("Content-Type: text/html\r\n")
	}
	if a.status != http.StatusNoContent {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	if r == nil || r.Close || w.leaving() || a.page && a.status != http.StatusNotFound { // as in serveAPI
		b.WriteString("Connection: close\r\n")
	} else {
		b.WriteString("Connection: keep-alive\r\n")
	}
	if w.server.options.WorkerHeader && r != nil {
		fmt.Fprintf(&b, "X-Dyups-Worker: %d\r\n", w.pid)
	}
	b.WriteString("\r\n")
	if f.cut {
		body = body[:len(body)/2]
	}
	if r == nil || r.Method != http.MethodHead {
		b.WriteString(body)
	}
	_, err := io.WriteString(c, b.String())
	return err == nil && !f.cut
}
