// Package conformance is what every dyups interface must do, as far as it shows from
// outside: one suite for the in-process server, for a real Tengine, and for whatever
// else claims the same API. Only tests import it.
package conformance

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// proxyHeader is set by the traffic's location to the pid that serves.
const proxyHeader = "X-Proxy-Worker"

// Config is what an interface is started with.
type Config struct {
	// Conf is upstream blocks, included at the start and at each reload.
	Conf string
	// ReadMsgTimeout is dyups_read_msg_timeout.
	ReadMsgTimeout time.Duration
	// QueueBytes is dyups_shm_zone_size.
	QueueBytes int
}

// Target is a running interface with the traffic that it steers. Its location sets
// the worker header.
type Target struct {
	// API is the address of the interface: http://host:port or unix:/path.
	API string
	// Proxy is the address of the traffic, http://host:port; the Host header names the
	// upstream, and the answer says in X-Proxy-Worker who served it.
	Proxy string
	// Workers is how many there are.
	Workers int
	// Kill ends a worker as signal 9 does.
	Kill func(t *testing.T, pid string)
	// Reload reads a new configuration and returns when the new workers serve.
	Reload func(t *testing.T, conf string)
	// Details is what each worker has, as /detail shows it, without a call: that would make the worker read the queue
	// first. Nil where nothing else tells.
	Details func() []string
	// Fragile says that a zone in a body kills the worker, that an unknown variable spoils
	// it, and that a body in more than two pieces is cut, as in the module written in C.
	Fragile bool
	// Shared says that all workers use one memory, of QueueBytes, which a crash and a reload
	// leave as it is: a change reaches every worker at once, and one that finds no room
	// changes nothing. In the module written in C each worker has a copy of its own.
	Shared bool
}

// Starter starts an interface of its own for each test and ends it with the test.
type Starter func(t *testing.T, c Config) Target

const (
	s1 = "server 127.0.0.1:1001;"
	s2 = "server 127.0.0.1:1002;"

	refused    = "add server failed"
	notSynced  = "alert: update success but not sync to other process"
	notFound   = "not found uptream"
	noSuchPath = "not support this interface"
	noSuchAPI  = "not support this api"
)

// never is a read timeout that no test lives to see.
const never = 10 * time.Minute

// Run holds the suite against what start starts.
func Run(t *testing.T, start Starter) {
	t.Run("answers", func(t *testing.T) { answers(t, start(t, Config{ReadMsgTimeout: never})) })
	t.Run("bodies", func(t *testing.T) { bodies(t, start(t, Config{ReadMsgTimeout: never})) })
	t.Run("large bodies", func(t *testing.T) { largeBodies(t, start(t, Config{ReadMsgTimeout: never})) })
	t.Run("replacement is no merge", func(t *testing.T) {
		replacement(t, start(t, Config{ReadMsgTimeout: never}))
	})
	t.Run("names", func(t *testing.T) { names(t, start(t, Config{ReadMsgTimeout: never})) })
	t.Run("shown options", func(t *testing.T) { shown(t, start(t, Config{ReadMsgTimeout: never})) })
	t.Run("each worker has its copy", func(t *testing.T) {
		copies(t, start(t, Config{Conf: blocks("app", s1), ReadMsgTimeout: never}))
	})
	t.Run("workers read by themselves", func(t *testing.T) {
		byTimer(t, start(t, Config{Conf: blocks("app", s1), ReadMsgTimeout: 300 * time.Millisecond}))
	})
	t.Run("down", func(t *testing.T) { down(t, start(t, Config{ReadMsgTimeout: never})) })
	t.Run("queue full", func(t *testing.T) {
		full(t, start(t, Config{ReadMsgTimeout: never, QueueBytes: 256 << 10}))
	})
	t.Run("crash", func(t *testing.T) {
		crash(t, start(t, Config{Conf: blocks("app", s1), ReadMsgTimeout: 200 * time.Millisecond}))
	})
	t.Run("reload", func(t *testing.T) {
		reload(t, start(t, Config{Conf: blocks("app", s1), ReadMsgTimeout: never}))
	})
	t.Run("cold start", func(t *testing.T) {
		c := Config{Conf: blocks("app", s1, "Web", s1+s2+"keepalive 2;"), ReadMsgTimeout: never}
		coldStart(t, start(t, c))
	})
	t.Run("zone", func(t *testing.T) {
		zone(t, start(t, Config{Conf: blocks("app", s1), ReadMsgTimeout: 200 * time.Millisecond}))
	})
	t.Run("variable", func(t *testing.T) {
		variable(t, start(t, Config{ReadMsgTimeout: 200 * time.Millisecond}))
	})
	t.Run("pieces", func(t *testing.T) { pieces(t, start(t, Config{ReadMsgTimeout: never})) })
}

func blocks(namesAndBodies ...string) string {
	var b strings.Builder
	for i := 0; i < len(namesAndBodies); i += 2 {
		fmt.Fprintf(&b, "upstream %s { %s }\n", namesAndBodies[i], namesAndBodies[i+1])
	}
	return b.String()
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !done(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
