package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swallowkeeper/registry/docker/dockertest"
)

// TestAgent is the agent as it is typed: what is wrong with a command line, a second one, its status.
func TestAgent(t *testing.T) {
	dir, err := os.MkdirTemp("", "agent") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	e := dockertest.New(t)
	file := filepath.Join(dir, "agent.toml")
	text := fmt.Sprintf("node = \"n1\"\nsocket = %q\n[docker]\nhost = %q\n", filepath.Join(dir, "a.sock"), e.Host())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	type result struct {
		code int
		out  string
	}
	typed := func(ctx context.Context, args ...string) result {
		var out bytes.Buffer
		code := run(ctx, append([]string{"agent", "--config", file}, args...), nil, &out, &out)
		return result{code, out.String()}
	}
	for _, row := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "give --etcd URL, --consul URL"},
		{[]string{"--etcd", "nowhere"}, 2, "etcd.address"},
		{[]string{"stopp"}, 2, "did you mean stop?"},
		{[]string{"stop"}, 2, "CONTAINER is missing"},
		{[]string{"status"}, 1, "no agent runs at"},
		{[]string{"stop", "web", "--drain", "2h"}, 2, "allowed is a duration from 0s to 1h"},
	} {
		if got := typed(t.Context(), row.args...); got.code != row.code || !strings.Contains(got.out, row.want) {
			t.Errorf("%v: exit code %d, %s", row.args, got.code, got.out)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan result, 1)
	go func() { first <- typed(ctx, "--consul", "127.0.0.1:1") }() // nobody is there: it waits
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); ; {
		got := typed(t.Context(), "status")
		if got.code == 1 && strings.Contains(got.out, "consul@127.0.0.1:1: in trouble since") && strings.Contains(got.out, "node n1") {
			break
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("status: %+v", got)
		}
	}
	if got := typed(t.Context(), "--consul", "127.0.0.1:1"); got.code != 1 || !strings.Contains(got.out, "another agent of node n1 runs on this machine") {
		t.Errorf("a second agent: %+v", got)
	}
	if got := typed(t.Context(), "status", "--json"); !strings.Contains(got.out, `"node": "n1"`) {
		t.Errorf("for machines: %+v", got)
	}
	cancel()
	if got := <-first; got.code != 0 {
		t.Errorf("the end: %+v", got)
	}
}
