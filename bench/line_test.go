package bench

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

const (
	workerHeader = "X-Dyups-Worker"
	workers      = 4
	answerLimit  = 10 * time.Second
)

// line is a kept connection to one worker of the gateway.
type line struct {
	conn   net.Conn
	answer *bufio.Reader
	worker string
}

// call makes one request. The whole of it leaves in one piece: dyups drops what comes later.
func (l *line) call(method, host, path, body string) (int, string, error) {
	if err := l.conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return 0, "", err
	}
	text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", method, path, host, len(body), body)
	if _, err := io.WriteString(l.conn, text); err != nil {
		return 0, "", err
	}
	resp, err := http.ReadResponse(l.answer, nil)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if id := resp.Header.Get(workerHeader); id != "" {
		l.worker = id
	}
	if resp.Close {
		err = io.ErrClosedPipe
	}
	return resp.StatusCode, string(got), err
}

// crew is one line to each worker.
type crew struct {
	address, path string
	lines         []*line
}

// dial opens lines until every worker has one. Which worker takes a connection can't be chosen.
func (c *crew) dial(limit time.Time) error {
	c.hangUp()
	for time.Now().Before(limit) {
		var tried []*line
		for range 8 { // at once, for an idle worker takes several that come one after the other
			conn, err := net.DialTimeout("tcp", c.address, answerLimit)
			if err != nil {
				continue
			}
			tried = append(tried, &line{conn: conn, answer: bufio.NewReaderSize(conn, 64<<10)})
		}
		for _, l := range tried {
			known := func(o *line) bool { return o.worker == l.worker }
			if _, _, err := l.call(http.MethodGet, "nobody", c.path, ""); err != nil || l.worker == "" || slices.ContainsFunc(c.lines, known) {
				l.conn.Close()
				continue
			}
			c.lines = append(c.lines, l)
		}
		if len(c.lines) == workers {
			return nil
		}
	}
	return fmt.Errorf("%d of %d workers were reached at %s", len(c.lines), workers, c.address)
}

func (c *crew) hangUp() {
	for _, l := range c.lines {
		l.conn.Close()
	}
	c.lines = nil
}

// all reports how many workers answer as wanted. Where a line is cut, as after a reload, all are dialled again.
func (c *crew) all(method, host, path string, wanted func(status int, body string) bool) int {
	count := 0
	for _, l := range c.lines {
		status, body, err := l.call(method, host, path, "")
		if err != nil {
			_ = c.dial(time.Now().Add(answerLimit)) // else the next look says so
			return 0
		}
		if wanted(status, body) {
			count++
		}
	}
	if len(c.lines) < workers {
		_ = c.dial(time.Now().Add(answerLimit))
		return 0
	}
	return count
}

// await looks until done says so, at first every 200 µs and then as rarely as leaves the processor to what is looked at.
func await(b testing.TB, what string, limit time.Duration, done func() bool) time.Duration {
	b.Helper()
	for began := time.Now(); ; {
		if done() {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			b.Fatalf("%s: not within %s", what, limit)
		}
		time.Sleep(max(200*time.Microsecond, time.Since(began)/50))
	}
}
