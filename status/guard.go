package status

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/peer"
	"swallowkeeper/upstream"
)

// token is what lets changes through over TCP. Only its hash is kept. Its name signs what it lets through.
type token struct {
	name string
	set  bool
	hash [sha256.Size]byte
}

func newToken(name, text string) token {
	return token{name: name, set: text != "", hash: sha256.Sum256([]byte(text))}
}

// fits compares in constant time.
func (t token) fits(given string) bool {
	hash := sha256.Sum256([]byte(given))
	return t.set && subtle.ConstantTimeCompare(hash[:], t.hash[:]) == 1
}

// protect is in front of every answer: a panic ends one answer and not the daemon, what
// another site sends is refused, and so is a name that somebody else made point here.
func (s *Site) protect(next http.Handler, trusted bool) http.Handler {
	sameSite := http.NewCrossOriginProtection()
	sameSite.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusForbidden, "another site asked for this change")
	}))
	next = sameSite.Handler(next)
	return http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
		w := &begun{ResponseWriter: to}
		defer func() {
			switch caught := recover(); caught {
			case nil:
			case http.ErrAbortHandler:
				panic(caught)
			default:
				s.parts.Log.WithField("path", r.URL.Path).Errorf("an answer panicked: %v\n%s", caught, debug.Stack())
				if w.wrote {
					panic(http.ErrAbortHandler) // the reader sees that it is cut
				}
				fail(w, http.StatusInternalServerError, "the answer failed: the log has more")
			}
		}()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'") // the page has its own
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if !trusted && !s.ourName(r.Host) {
			fail(w, http.StatusForbidden, "this is not the server of that name: ask for it by its address")
			return
		}
		next.ServeHTTP(w, r)
		if r.ContentLength != 0 {
			// What nobody has read of the body nobody waits for, or a body that comes byte by byte would
			// hold its connection.
			_ = http.NewResponseController(to).SetReadDeadline(time.Now())
		}
	})
}

// begun is an answer, and whether some of it is on its way.
type begun struct {
	http.ResponseWriter
	wrote bool
}

// Unwrap is for http.ResponseController.
func (b *begun) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (b *begun) WriteHeader(code int) {
	b.wrote = true
	b.ResponseWriter.WriteHeader(code)
}

func (b *begun) Write(p []byte) (int, error) {
	b.wrote = true
	return b.ResponseWriter.Write(p)
}

// ourName reports whether a request is for us: a page on the net may have its own name
// point to a loopback address, and would then read here as the browser on this machine does.
func (s *Site) ourName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil || strings.EqualFold(host, "localhost") || host == "" {
		return true
	}
	listening, _, err := net.SplitHostPort(s.config.Address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(listening)
	loopback := listening == "localhost" || err == nil && ip.IsLoopback()
	return !loopback // whoever listens for others knows under which names
}

// change is in front of what changes things. Its order bears the name of who gives it: over the socket the
// user's whose process connected, else the token's.
func (s *Site) change(next func(*http.Request, upstream.Signature) (any, error), trusted bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !trusted {
			given, is := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			switch {
			case !s.secret.set:
				fail(w, http.StatusForbidden, "changes are made over the unix socket, or here once status.token is configured")
				return
			case !is:
				w.Header().Set("WWW-Authenticate", "Bearer")
				fail(w, http.StatusUnauthorized, "a change takes the token, as Authorization: Bearer TOKEN")
				return
			case !s.secret.fits(given):
				s.parts.Log.WithField("from", r.RemoteAddr).Warn("a change came with a wrong token")
				w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
				fail(w, http.StatusUnauthorized, "this is not the token")
				return
			}
		}
		by := upstream.Signature{By: upstream.Signer(s.secret.name), Why: strings.TrimSpace(r.URL.Query().Get("why"))}
		if trusted {
			by.By = peerName(r.Context())
		}
		if err := upstream.ValidWhy(by.Why); err != nil {
			fail(w, http.StatusBadRequest, "why: "+err.Error())
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, mostBody)
		s.parts.Log.WithFields(logrus.Fields{"request": r.Method + " " + r.URL.EscapedPath(), "by": by.By}).Info("a person asks for a change")
		show(func(r *http.Request) (any, error) { return next(r, by) })(w, r)
	}
}

// peerKey is where the connection's context has the user that connected, as a uint32.
type peerKey struct{}

// withPeer is for http.Server.ConnContext.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if m, is := c.(*member); is {
		c = m.Conn
	}
	if uid, told := peer.UID(c); told {
		return context.WithValue(ctx, peerKey{}, uid)
	}
	return ctx
}

func peerName(ctx context.Context) string {
	if uid, told := ctx.Value(peerKey{}).(uint32); told {
		return upstream.Signer(peer.Name(uid))
	}
	return upstream.Unknown
}
