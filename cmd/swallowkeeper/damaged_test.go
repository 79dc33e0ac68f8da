package main

import (
	"os"
	"strings"
	"testing"

	"swallowkeeper/persist"
	"swallowkeeper/status"
)

// TestADamagedFileIsTold for as long as it is kept aside, with the daemon and without, and by doctor.
func TestADamagedFileIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	url := r.page()
	r.configure()
	r.baseline(want{"a": "10.0.0.1:80"})
	text, err := os.ReadFile(r.conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.conf, text[:len(text)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	d := r.daemon()
	r.inSync(want{"a": "10.0.0.1:80"})
	aside, err := persist.Damaged(r.conf)
	if err != nil || len(aside) != 1 {
		t.Fatalf("kept aside are %q: %v", aside, err)
	}
	eventually(t, patience, "it is ready", func() bool { return r.status().Ready })
	st := r.status()
	if st.Verdict.Code != status.WasDamaged || st.Verdict.Level != status.LevelWarn || st.Verdict.ExitCode != status.ExitInSync || st.DamagedFile != aside[0] {
		t.Errorf("status %+v", st)
	}
	r.command("status").wants(t, status.ExitInSync, "in sync, but the conf file was damaged: the conf file was damaged, and", "look at "+aside[0])
	if page, _ := get(t, url+"?lang=zh", ""); !strings.Contains(page, "但配置文件曾损坏") || !strings.Contains(page, "请查看 "+aside[0]) {
		t.Errorf("the page: %s", page)
	}
	r.command("doctor").wants(t, status.ExitFailed, "[conf-damaged]", aside[0]) // it finds no nginx here
	d.stop()
	r.command("status").wants(t, status.ExitFailed, "look at "+aside[0])
	r.daemon()
	eventually(t, patience, "a restart says it too", func() bool { st := r.status(); return st.Ready && st.DamagedFile == aside[0] })
	if err := os.Remove(aside[0]); err != nil {
		t.Fatal(err)
	}
	if st := r.status(); st.DamagedFile != "" || len(st.Reasons) > 0 || st.Verdict.Code != status.InSync {
		t.Errorf("it is moved away: %+v", st)
	}
	if got := r.command("doctor"); strings.Contains(got.stdout, "conf-damaged") {
		t.Errorf("doctor: %s", got.stdout)
	}
}
