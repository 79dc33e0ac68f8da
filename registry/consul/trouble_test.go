package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus/hooks/test"
)

// TestTroublesSay holds the log to a line for each new reason, one a minute while it
// lasts, and one when it is over, however many loops fail alike.
func TestTroublesSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, logged := test.NewNullLogger()
		tr := newTroubles(log)
		lines := func() int { return len(logged.AllEntries()) }
		expect := func(what string, n int) {
			t.Helper()
			if got := lines(); got != n {
				t.Fatalf("%s: %d lines, want %d", what, got, n)
			}
		}
		refused, other := errors.New("connection refused"), errors.New("no leader")
		for i := range 500 {
			tr.report(fmt.Sprint("service ", i), "read", refused)
		}
		expect("one reason", 1)
		if err := tr.condition().Trouble; err == nil || err.Error() != "read: connection refused (and 499 more can't be read)" {
			t.Errorf("trouble %v", err)
		}
		for range 10 {
			tr.report("service 1", "read", other)
			tr.report("service 1", "read", refused)
		}
		expect("two reasons in turn", 2)
		time.Sleep(59 * time.Second)
		tr.report("service 1", "read", refused)
		expect("before the minute is over", 2)
		time.Sleep(time.Second)
		tr.report("service 1", "read", refused)
		expect("after a minute", 3)
		for i := range 500 {
			tr.over(fmt.Sprint("service ", i))
		}
		expect("recovered", 4)
		if after := logged.LastEntry().Data["after"]; after != "1m0s" || tr.condition().Trouble != nil {
			t.Errorf("recovered after %v, trouble %v", after, tr.condition().Trouble)
		}
		for range 10 {
			tr.report("service 1", "read", refused)
			tr.over("service 1")
		}
		expect("flapping within the minute", 4)
	})
}

func TestReason(t *testing.T) {
	refused := &net.OpError{
		Op: "dial", Net: "tcp", Source: &net.TCPAddr{Port: 45678}, Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8500},
		Err: errors.New("connect: connection refused"),
	}
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{
			"a query's own port and path", &url.Error{Op: "Get", URL: "http://x/v1/health/service/web", Err: refused},
			"dial 127.0.0.1:8500: connect: connection refused",
		},
		{"in time", &url.Error{Op: "Get", URL: "http://x/", Err: context.DeadlineExceeded}, "no answer in time"},
		{"a status", api.StatusError{Code: 500, Body: "No\ncluster  leader"}, `status 500 "No cluster leader"`},
		{"a page", api.StatusError{Code: 502, Body: "<html> <body>"}, "status 502"},
		{"a long body", api.StatusError{Code: 500, Body: strings.Repeat("x", 4000)}, `status 500 "` + strings.Repeat("x", 80) + `"…`},
		{"wrapped", during("confirm", errNoLeader), "confirm: the servers have no leader"},
		{"long", errors.New(strings.Repeat("é", 4000)), strings.Repeat("é", 150) + "…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := common(test.err); got != test.want {
				t.Errorf("reason %q, want %q", got, test.want)
			}
		})
	}
}

// Trouble is on from the first loop that fails until the last one is well.
func TestTroubleSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := test.NewNullLogger()
		r := &Registry{trouble: newTroubles(log), endpoint: endpoint{heard: new(atomic.Int64)}}
		since := func(want time.Time) {
			t.Helper()
			if got := r.Condition().Since; !got.Equal(want) || (r.Condition().Trouble == nil) != want.IsZero() {
				t.Errorf("in trouble since %s, want %s: %v", got, want, r.Condition().Trouble)
			}
		}
		since(time.Time{})
		began := time.Now()
		r.trouble.report("a", "read a", errors.New("refused"))
		<-time.After(time.Minute)
		r.trouble.report("b", "read b", errors.New("refused"))
		since(began)
		r.trouble.over("a")
		since(began)
		r.trouble.over("b")
		since(time.Time{})
		again := time.Now()
		r.trouble.report("a", "read a", errors.New("refused"))
		since(again)
	})
}
