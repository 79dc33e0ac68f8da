package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"swallowkeeper/internal/safetext"
)

// explain describes in our words what failed and what to do.
func (c *client) explain(what string, err error) error {
	f := &failure{cause: err}
	at := "etcd at " + c.cfg.where()
	etcd := rpctypes.Error(err)
	text := status.Convert(err).Message()
	switch {
	case errors.Is(etcd, rpctypes.ErrUserEmpty):
		f.text = at + " needs username and password_file"
		return lasting(f)
	case errors.Is(etcd, rpctypes.ErrAuthFailed):
		f.text = fmt.Sprintf("%s refuses user %s with the password of %s", at, safetext.Name(c.cfg.Username), c.cfg.PasswordFile)
		return lasting(f)
	case errors.Is(etcd, rpctypes.ErrPermissionDenied):
		f.text = fmt.Sprintf("%s: %s may not read %s: etcdctl role grant-permission ROLE read --prefix %s", at, c.cfg.user(), c.cfg.keys(), c.cfg.keys())
		return lasting(f)
	case leaderless(etcd):
		f.text, f.leaderless = at+": no leader", true
		return f
	case strings.Contains(text, "first record does not look like a TLS handshake"), strings.Contains(text, "handshake failed: EOF"):
		f.text = at + " ends the handshake of TLS: write http:// where it has none"
		return f
	case strings.Contains(text, "unknown authority"):
		f.text = at + ": " + tail(text) + ": set ca"
		return f
	case strings.Contains(text, "certificate required"), strings.Contains(text, "bad certificate"):
		f.text = at + ": " + tail(text) + ": set cert and key"
		return f
	case status.Code(err) == codes.Unimplemented, strings.Contains(text, "server preface"), strings.Contains(text, "unexpected HTTP status"),
		strings.Contains(text, "frame too large"):
		f.text = at + " does not speak etcd's gRPC: write https:// where it has TLS, and give the client port (2379), not the peer's"
		return f
	}
	if dial := c.dials.err(); dial != nil && (status.Code(err) == codes.Unavailable || isTimeout(err)) {
		f.text = at + ": " + safetext.Cut(dial.Error(), mostText)
		return f
	}
	if isTimeout(err) {
		f.text = at + ": no answer within " + limit.String()
		return f
	}
	f.text = fmt.Sprintf("%s: %s: %s", at, what, tail(text))
	return f
}

// tail returns the end of a gRPC message, which has the essence.
func tail(text string) string {
	for _, before := range []string{"desc = ", "transport: ", "etcdserver: "} {
		if i := strings.LastIndex(text, before); i >= 0 {
			text = text[i+len(before):]
		}
	}
	return safetext.Cut(safetext.Words(strings.Trim(text, `"`)), mostText)
}

func isTimeout(err error) bool {
	return status.Code(err) == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded)
}

// leaderless reports whether an error means that the members have no leader.
func leaderless(err error) bool {
	for _, e := range []error{
		rpctypes.ErrNoLeader, rpctypes.ErrTimeout, rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrTimeoutDueToConnectionLost,
		rpctypes.ErrLeaderChanged, rpctypes.ErrNotLeader,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (c *Config) user() string {
	if c.Username == "" {
		return "our certificate's user"
	}
	return "user " + safetext.Name(c.Username)
}

// cancelled returns the error in the reason why a watch was ended.
func cancelled(reason string) error {
	if i := strings.LastIndex(reason, "desc = "); i >= 0 {
		reason = reason[i+len("desc = "):]
	}
	return status.Error(codes.FailedPrecondition, reason)
}
