package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/internal/peer"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
	"swallowkeeper/syncer"
)

// TestTheSocketTellsWhoItIs is a command that another user gives than the one of the daemon.
func TestTheSocketTellsWhoItIs(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	folder := filepath.Dir(d.socket)
	for path, mode := range map[string]os.FileMode{folder: 0o755, d.socket: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	who := peer.Own()
	if os.Geteuid() == 0 {
		who = peer.Name(65534)
	}
	env := []string{"SWALLOWKEEPER_STATUS_SOCKET=" + d.socket, "SWALLOWKEEPER_PERSIST_PATH=" + d.conf}
	nobodys(t, env, "freeze", "checkout", "--reason", "deploy 42").wants(t, status.ExitInSync)
	d.call("status").wants(t, status.ExitHeld, "frozen: checkout until it is released, by "+who+": deploy 42 (swallowkeeper unfreeze checkout)")
	nobodys(t, env, "rollback", "10", "--yes", "--reason", "and back").wants(t, status.ExitInSync)
	d.call("history").wants(t, status.ExitInSync, "rolled back to generation 10, by "+who+": and back")
	d.call("freeze", "search", "--address", d.url).wants(t, status.ExitFailed) // without the token
	call(t, []string{"SWALLOWKEEPER_STATUS_TOKEN=" + deskToken}, "freeze", "search", "--address", d.url).wants(t, status.ExitInSync)
	d.call("status").wants(t, status.ExitHeld, "frozen: search until it is released, by token (")
	for _, bad := range []string{"two\nlines", strings.Repeat("x", 201), "\x1b[2J"} {
		d.call("freeze", "mail", "--reason", bad).wants(t, status.ExitUsage, "--reason ", "allowed is one line of visible characters")
	}
}

// TestOrdersOfADaemonAreSigned goes the whole way: the log, the event, the conf file and the history.
func TestOrdersOfADaemonAreSigned(t *testing.T) {
	t.Parallel()
	me := peer.Own()
	r := newRig(t).configure()
	r.baseline(want{"a": "10.0.0.1:80", "b": "10.0.0.2:80"})
	d := r.daemon()
	eventually(t, patience, "it is in sync", func() bool { return r.status().InSync })
	name := r.prefix + "a"
	r.command("freeze", name, "--reason", "deploy 42").wants(t, status.ExitInSync)
	r.command("status").wants(t, status.ExitInSync, "frozen: "+name+" until it is released, by "+me+": deploy 42")
	if e := r.told(syncer.EventFrozen); len(e) != 1 || e[0].By != me || e[0].Why != "deploy 42" {
		t.Errorf("told of %+v", e)
	}
	r.up("a", "10.0.0.3:80")
	eventually(t, patience, "the freeze keeps one out", func() bool {
		var e status.Explanation
		r.ask("GET", "/api/v1/upstreams/"+name, nil, &e)
		return len(e.Servers) == 2
	})
	r.command("unfreeze", name, "--reason", "done").wants(t, status.ExitInSync)
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.3:80", "b": "10.0.0.2:80"})
	r.command("rollback", "1", "--yes", "--reason", "3 is bad").wants(t, status.ExitInSync)
	r.inSync(want{"a": "10.0.0.1:80", "b": "10.0.0.2:80"})
	r.command("history").wants(t, status.ExitInSync, "changed "+name+", by "+me+": done\n", "rolled back to generation 1, by "+me+": 3 is bad\n")
	d.says("by=" + me)
	d.says(`why="3 is bad"`)
	d.stop()
	r.command("history").wants(t, status.ExitInSync, "rolled back to generation 1, by "+me+": 3 is bad\n") // from the files
	r.daemon()
	eventually(t, patience, "it is there again", func() bool { return r.status().InSync })
	if st := r.status(); st.Generation.By != me || st.Generation.Why != "3 is bad" || st.Freezes[0].Why != "3 is bad" {
		t.Errorf("after a restart: %+v %+v", st.Generation, st.Freezes)
	}
	if e := r.told(syncer.EventGeneration); len(e) < 3 || e[len(e)-1].By != me || e[len(e)-1].Why != "3 is bad" {
		t.Errorf("the timeline from before the restart: %+v", e)
	}
}

// TestOrdersWithoutADaemonAreSigned by the user that gives them.
func TestOrdersWithoutADaemonAreSigned(t *testing.T) {
	t.Parallel()
	by := ", by " + peer.Own()
	r := newRig(t).configure()
	r.baseline(want{"a": "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80", "b": "10.0.0.5:80"})
	r.command("freeze", r.prefix+"b", "--reason", "by hand").wants(t, status.ExitInSync)
	r.command("status").wants(t, status.ExitFailed, "frozen: "+r.prefix+"b until it is released"+by+": by hand")
	r.command("unfreeze", r.prefix+"b").wants(t, status.ExitInSync)
	r.gone("a", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80")
	held := r.once()
	held.wants(t, status.ExitHeld, "--approve ")
	id := strings.Fields(held.stdout[strings.Index(held.stdout, "--approve ")+len("--approve "):])[0]
	r.once("--approve", id, "--reason", "scaled down").wants(t, status.ExitInSync)
	r.command("history").wants(t, status.ExitInSync, "changed "+r.prefix+"a"+by+": scaled down\n")
	r.command("rollback", "1", "--yes").wants(t, status.ExitInSync)
	r.command("history").wants(t, status.ExitInSync, "rolled back to generation 1"+by+"\n")
	r.once("--reason", "x").wants(t, status.ExitUsage, "--approve")
	call(t, nil, "--reason", "x").wants(t, status.ExitUsage, "--sync-once")
}
