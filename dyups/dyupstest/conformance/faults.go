package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// faults stands between a gateway and an interface. Each connection to it has one of its own behind it, and so one
// worker. Whatever it is not told to do otherwise, it hands on.
type faults struct {
	t       *testing.T
	api     string // host:port behind it
	l       net.Listener
	running sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	sent     []string
	lie      string
	refuse   string
	onChange func()
	held     map[string]chan struct{} // by worker, "" for all of them; closed when it ends
}

func newFaults(t *testing.T, api string) *faults {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{t: t, api: strings.TrimPrefix(api, "http://"), l: l, conns: map[net.Conn]bool{}, held: map[string]chan struct{}{}}
	f.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.running.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(f.close)
	return f
}

func (f *faults) close() {
	_ = f.l.Close()
	f.mu.Lock()
	for worker, held := range f.held {
		close(held)
		delete(f.held, worker)
	}
	for c := range f.conns {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.running.Wait()
}

// hold keeps calls of a worker unanswered, "" those of all, until it is released.
func (f *faults) hold(worker string) (release func()) {
	held := make(chan struct{})
	f.mu.Lock()
	f.held[worker] = held
	f.mu.Unlock()
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.held[worker] == held {
			close(held)
			delete(f.held, worker)
		}
	}
}

func (f *faults) wait(worker string) {
	f.mu.Lock()
	var held []chan struct{}
	for _, of := range []string{"", worker} {
		if c := f.held[of]; c != nil {
			held = append(held, c)
		}
	}
	f.mu.Unlock()
	for _, c := range held {
		<-c
	}
}

// serve hands on what comes over one connection, call by call, until either side closes it.
func (f *faults) serve(client net.Conn) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(f.t.Context(), "tcp", f.api)
	if err != nil {
		return
	}
	defer server.Close()
	f.mu.Lock()
	f.conns[client], f.conns[server] = true, true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.conns, client)
		delete(f.conns, server)
	}()
	in, back := bufio.NewReader(client), bufio.NewReader(server)
	hello, _, err := exchange(server, back, http.MethodGet, "/list", nil) //nolint:bodyclose // exchange has read and closed it
	if err != nil {
		return
	}
	worker := hello.Header.Get(workerHeader)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		answer, text, err := f.answer(worker, req, body, server, back) //nolint:bodyclose // exchange has read and closed it
		if err != nil {
			return
		}
		answer.Body, answer.ContentLength, answer.TransferEncoding = io.NopCloser(bytes.NewReader(text)), int64(len(text)), nil
		var out bytes.Buffer
		if err := answer.Write(&out); err != nil {
			return
		}
		if _, err := client.Write(out.Bytes()); err != nil || answer.Close {
			return
		}
	}
}

func (f *faults) answer(worker string, req *http.Request, body []byte, server net.Conn, back *bufio.Reader) (*http.Response, []byte, error) {
	f.wait(worker)
	if req.Method == http.MethodPost || req.Method == http.MethodDelete {
		name := strings.TrimPrefix(req.URL.Path, "/upstream/")
		f.mu.Lock()
		f.sent = append(f.sent, name)
		lie, refuse, first := f.lie == name, f.refuse == name, f.onChange
		f.onChange = nil
		f.mu.Unlock()
		if first != nil {
			first()
		}
		switch {
		case lie:
			return f.own(worker, http.StatusOK), []byte("success"), nil
		case refuse:
			return f.own(worker, http.StatusInternalServerError), []byte("this one is refused"), nil
		}
	}
	return exchange(server, back, req.Method, req.RequestURI, body)
}

func (f *faults) own(worker string, status int) *http.Response {
	return &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{workerHeader: {worker}},
	}
}

// exchange sends one call, in one write, and reads the answer.
func exchange(c net.Conn, in *bufio.Reader, method, path string, body []byte) (*http.Response, []byte, error) {
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body); err != nil {
		return nil, nil, err
	}
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp, text, err
}

func (f *faults) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent)
}

func (f *faults) tell(set func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set()
}
