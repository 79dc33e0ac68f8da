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

	"swallowkeeper/generation"
	"swallowkeeper/internal/peer"
)

// token authorizes changes over TCP. Only its hash is kept. Changes are signed with its name.
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

// protect wraps all handlers. It recovers from panics, and rejects cross-site requests and host names that are not
// ours.
func (s *Site) protect(next http.Handler, trusted bool) http.Handler {
	sameSite := http.NewCrossOriginProtection()
	sameSite.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusForbidden, "another site asked for this change")
	}))
	next = sameSite.Handler(next)
	return http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
		w := &startedWriter{ResponseWriter: to}
		defer func() {
			switch caught := recover(); caught {
			case nil:
			case http.ErrAbortHandler:
				panic(caught)
			default:
				s.parts.Log.WithField("path", r.URL.Path).Errorf("an answer panicked: %v\n%s", caught, debug.Stack())
				if w.wrote {
					panic(http.ErrAbortHandler) // so the client sees a truncated answer
				}
				fail(w, http.StatusInternalServerError, "the answer failed: the log has more")
			}
		}()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'") // the page sets its own
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if !trusted && !s.isOurHost(r.Host) {
			fail(w, http.StatusForbidden, "this is not the server of that name: ask for it by its address")
			return
		}
		next.ServeHTTP(w, r)
		if r.ContentLength != 0 {
			// Nothing waits for the rest of a body that was not read: a body sent byte by byte would keep the
			// connection.
			_ = http.NewResponseController(to).SetReadDeadline(time.Now())
		}
	})
}

// startedWriter records whether an answer has begun.
type startedWriter struct {
	http.ResponseWriter
	wrote bool
}

// Unwrap is for http.ResponseController.
func (b *startedWriter) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (b *startedWriter) WriteHeader(code int) {
	b.wrote = true
	b.ResponseWriter.WriteHeader(code)
}

func (b *startedWriter) Write(p []byte) (int, error) {
	b.wrote = true
	return b.ResponseWriter.Write(p)
}

// isOurHost reports whether a host name is ours. A page on the internet could resolve its own name to a loopback address,
// and would then read this server through the local browser.
func (s *Site) isOurHost(host string) bool {
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
	return !loopback // other listeners have unknown names
}

// change wraps handlers of changes. The order is signed with the user of the connecting process on the socket, or with
// the token's name.
func (s *Site) change(next func(*http.Request, generation.Signature) (any, error), trusted bool) http.HandlerFunc {
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
		by := generation.Signature{By: generation.Signer(s.secret.name), Why: strings.TrimSpace(r.URL.Query().Get("why"))}
		if trusted {
			by.By = peerName(r.Context())
		}
		if err := generation.ValidWhy(by.Why); err != nil {
			fail(w, http.StatusBadRequest, "why: "+err.Error())
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		s.parts.Log.WithFields(logrus.Fields{"request": r.Method + " " + r.URL.EscapedPath(), "by": by.By}).Info("an operator requests a change")
		show(func(r *http.Request) (any, error) { return next(r, by) })(w, r)
	}
}

// peerKey is the context key of the connected user, a uint32.
type peerKey struct{}

// withPeer is used as http.Server.ConnContext.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if m, is := c.(*limitedConn); is {
		c = m.Conn
	}
	if uid, told := peer.UID(c); told {
		return context.WithValue(ctx, peerKey{}, uid)
	}
	return ctx
}

func peerName(ctx context.Context) string {
	if uid, told := ctx.Value(peerKey{}).(uint32); told {
		return generation.Signer(peer.Name(uid))
	}
	return generation.Unknown
}
