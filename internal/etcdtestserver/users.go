package etcdtestserver

import (
	"context"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// The user that [Server.Lock] creates.
const (
	User     = "sk"
	Password = "s3cret"
)

const rootPassword = "r00t"

// Lock enables authentication. User has a role without permissions.
func (s *Server) Lock(t testing.TB, role string) {
	t.Helper()
	c := s.dial(t, "")
	ctx := t.Context()
	for _, do := range []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", rootPassword); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.RoleAdd(ctx, role); return err },
		func() error { _, err := c.UserAdd(ctx, User, Password); return err },
		func() error { _, err := c.UserGrantRole(ctx, User, role); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
}

// Root returns a client with all permissions on a locked server.
func (s *Server) Root(t testing.TB) *clientv3.Client {
	t.Helper()
	return s.dial(t, "root")
}

// Grant gives a role a permission on all keys below a prefix.
func (s *Server) Grant(t testing.TB, role, prefix string, right clientv3.PermissionType) {
	t.Helper()
	_, err := s.Root(t).RoleGrantPermission(context.WithoutCancel(t.Context()), role, prefix, clientv3.GetPrefixRangeEnd(prefix), right)
	if err != nil {
		t.Fatal(err)
	}
}

func (s *Server) dial(t testing.TB, user string) *clientv3.Client {
	t.Helper()
	config := clientv3.Config{Endpoints: []string{s.URL}, Logger: zap.NewNop()}
	if user != "" {
		config.Username, config.Password = user, rootPassword
	}
	c, err := clientv3.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
