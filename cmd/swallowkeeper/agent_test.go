package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"swallowkeeper/internal/etcdtestserver"
	"swallowkeeper/registry/docker/dockertest"
	"swallowkeeper/registry/etcd/etcdtest"
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

// TestAgentIsKilled: one that is started again within its time to live changes nothing, and what one that is not started again has
// registered is gone with its lease.
func TestAgentIsKilled(t *testing.T) {
	t.Parallel()
	t.Run("double", func(t *testing.T) {
		t.Parallel()
		d, err := etcdtest.Start(nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Stop)
		agentIsKilled(t, d.URL)
	})
	t.Run("etcd", func(t *testing.T) {
		t.Parallel()
		agentIsKilled(t, etcdtestserver.Start(t).URL)
	})
}

func agentIsKilled(t *testing.T, url string) {
	dir, err := os.MkdirTemp("", "agent") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	e := dockertest.New(t)
	run := func(name, ip string) {
		e.Run(dockertest.Spec{
			Name: name, Labels: map[string]string{"swallowkeeper.name": "web"}, Exposed: []string{"80/tcp"},
			Networks: map[string]netip.Addr{"web": dockertest.Addr(ip)},
		})
	}
	run("one", "10.0.0.1")
	file := filepath.Join(dir, "agent.toml")
	text := fmt.Sprintf("node = \"n1\"\nsocket = %q\n[docker]\nhost = %q\n", filepath.Join(dir, "a.sock"), e.Host())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	const services = "/swallowkeeper/services/web/n1:"
	has := func(want ...string) (written int64) { // and when the first of them was last written
		t.Helper()
		eventually(t, 2*patience, fmt.Sprintf("etcd has %q", want), func() bool {
			got, err := c.Get(t.Context(), services, clientv3.WithPrefix())
			if err != nil {
				t.Fatal(err)
			}
			var keys []string
			for i, kv := range got.Kvs {
				if keys = append(keys, strings.TrimPrefix(string(kv.Key), services)); i == 0 {
					written = kv.ModRevision
				}
			}
			return slices.Equal(keys, want)
		})
		return written
	}
	start := func() *keeper {
		return startProgram(t, func(*exec.Cmd) {}, nil, "agent", "--config", file, "--etcd", url)
	}

	first := start()
	written := has("one:80")
	first.kill()
	first.wait()
	run("two", "10.0.0.2")
	second := start()
	if now := has("one:80", "two:80"); now != written {
		t.Error("a start writes what is there")
	}
	second.kill()
	second.wait()
	has()
}
