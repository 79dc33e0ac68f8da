package etcdtest

import (
	"context"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
)

// auth hands out tokens.
type auth struct {
	pb.UnimplementedAuthServer
	s *Server
}

// user may read and write below a prefix.
type user struct{ password, prefix string }

// Authentication turns authentication on, with a user who may do all below the prefix beside those there are.
func (s *Server) Authentication(name, password, prefix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == nil {
		s.users = map[string]user{}
	}
	s.users[name] = user{password, prefix}
}

// ForgetTokens has all tokens be over.
func (s *Server) ForgetTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = nil
}

// Issued is how many tokens were handed out.
func (s *Server) Issued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued
}

// Authenticate makes a token of a name and a password.
func (a *auth) Authenticate(ctx context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	if err := a.s.enter(ctx, true); err != nil {
		return nil, err
	}
	defer a.s.mu.Unlock()
	switch u, known := a.s.users[r.Name]; {
	case a.s.users == nil:
		return nil, rpctypes.ErrGRPCAuthNotEnabled
	case !known || u.password != r.Password:
		return nil, rpctypes.ErrGRPCAuthFailed
	}
	if a.s.tokens == nil {
		a.s.tokens = map[string]string{}
	}
	a.s.issued++
	token := fmt.Sprintf("token.%d", a.s.issued)
	a.s.tokens[token] = r.Name
	return &pb.AuthenticateResponse{Header: a.s.header(), Token: token}, nil
}

// may says why who calls may not touch a range. Locked.
func (s *Server) may(ctx context.Context, key, end string, _ bool) error {
	if s.users == nil {
		return nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	tokens := md.Get(rpctypes.TokenFieldNameGRPC)
	if len(tokens) == 0 || tokens[0] == "" {
		return rpctypes.ErrGRPCUserEmpty
	}
	name, known := s.tokens[tokens[0]]
	if !known {
		return rpctypes.ErrGRPCInvalidAuthToken
	}
	prefix := s.users[name].prefix
	if !strings.HasPrefix(key, prefix) || end == "\x00" || end > after(prefix) {
		return rpctypes.ErrGRPCPermissionDenied
	}
	return nil
}

// after is the end of all that begins with a prefix.
func after(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return "\xff"
}
