package peer_test

import (
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"testing"

	"swallowkeeper/internal/peer"
)

func TestUID(t *testing.T) {
	for network, address := range map[string]string{"unix": filepath.Join(t.TempDir(), "s"), "tcp": "127.0.0.1:0"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		uid, told := peer.UID(got)
		tells := network == "unix" && (runtime.GOOS == "linux" || runtime.GOOS == "darwin")
		if told != tells || told && int(uid) != os.Geteuid() {
			t.Errorf("%s: %d, %v; this is %d", network, uid, told, os.Geteuid())
		}
	}
}

func TestName(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if peer.Own() != me.Username {
		t.Errorf("this is %q, want %q", peer.Own(), me.Username)
	}
	if got := peer.Name(4294967000); got != "uid 4294967000" {
		t.Errorf("a user that nobody knows is %q", got)
	}
}
