package nginx

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"swallowkeeper/internal/clienttls"
	"swallowkeeper/internal/safetext"
)

// told is a worker's answer about its generation.
type told struct {
	pid    int
	digest string // "" if it has no generation of ours
	// other is the answer instead of a generation, such as "404 Not Found".
	other string
	err   error // no answer
}

// asker queries nginx over a new connection each time, as a kept one would always reach the same worker.
type asker struct {
	url    *url.URL
	config Config
}

func newAsker(c Config) *asker {
	u, err := url.Parse(c.Verify)
	if err != nil {
		u = &url.URL{Scheme: "http"} // Validate has refused it
	}
	return &asker{url: u, config: c}
}

func (a *asker) host() string {
	port := "80"
	if a.url.Scheme == "https" {
		port = "443"
	}
	return net.JoinHostPort(a.url.Hostname(), cmp.Or(a.url.Port(), port))
}

// several queries over several connections at the same time, to reach several workers.
func (a *asker) several(ctx context.Context, n int) []told {
	all := make([]told, n)
	var asking sync.WaitGroup
	for i := range all {
		asking.Go(func() { all[i] = a.ask(ctx) })
	}
	asking.Wait()
	return all
}

// mostAnswer is far above the size of our answers.
const mostAnswer = 64 << 10

func (a *asker) ask(ctx context.Context) told {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	t, err := a.exchange(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return told{err: fmt.Errorf("ask %s: %w", a.host(), err)}
	}
	return t
}

func (a *asker) exchange(ctx context.Context) (told, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", a.host())
	if err != nil {
		return told{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if a.url.Scheme == "https" {
		if conn, err = a.secure(ctx, conn); err != nil {
			return told{}, err
		}
	}
	_, err = io.WriteString(conn, "GET "+a.url.RequestURI()+" HTTP/1.1\r\nHost: "+cmp.Or(a.config.TLSServerName, a.url.Host)+
		"\r\nUser-Agent: swallowkeeper\r\nConnection: close\r\n\r\n")
	if err != nil {
		return told{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, mostAnswer)), nil)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			<-ctx.Done()
		}
		return told{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return told{other: safetext.Cut(safetext.Words(resp.Status), 60)}, nil
	}
	const longest = 100
	body, err := io.ReadAll(io.LimitReader(resp.Body, longest))
	if err != nil {
		return told{}, err
	}
	return understand(string(body)), nil
}

// secure starts TLS. It reads the files each time, as certificates are renewed.
func (a *asker) secure(ctx context.Context, conn net.Conn) (net.Conn, error) {
	t, err := clienttls.Config(a.config.CA, a.config.Cert, a.config.Key)
	if err != nil {
		return conn, err
	}
	t.ServerName = cmp.Or(a.config.TLSServerName, a.url.Hostname())
	secured := tls.Client(conn, t)
	return secured, secured.HandshakeContext(ctx)
}

// understand parses the answer of a generation's location: the worker's process ID and the digest.
func understand(body string) told {
	id, digest, _ := strings.Cut(strings.TrimSuffix(body, "\n"), " ")
	pid, err := strconv.Atoi(id)
	if err != nil || pid < 1 || !isDigest(digest) {
		return told{other: safetext.Quote(body)}
	}
	return told{pid: pid, digest: digest}
}
