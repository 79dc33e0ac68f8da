package bench

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// coldStart takes the time until every worker has every upstream, from nothing.
func (w *world) coldStart(b *testing.B, s *subject) {
	b.Helper()
	want := w.catalog.wanted()
	began := time.Now()
	s.start(b)
	await(b, s.name+" has started", 5*time.Minute, func() bool { s.alive(b); return s.gateway.listed(len(want)) })
	took := time.Since(began)
	took += s.inSync(b, time.Minute) // 0 where the first look finds all right
	w.add(s.name, "cold-start", took.Seconds())
	w.add(s.name, "cold-cpu", cpu(b, s.pid)/1000)
	if s.name != Template {
		await(b, s.name+" is ready", time.Minute, s.ready)
	}
	w.add(s.name, "cold-written", written(b, s.pid)/1000)
}

// warmStart takes the time until swallowkeeper says that it is ready, where nothing has changed since it was stopped.
func (w *world) warmStart(b *testing.B, s *subject) {
	b.Helper()
	s.stop()
	before, files := s.gateway.writes(), s.files(b)
	began := time.Now()
	s.start(b)
	await(b, s.name+" is ready", 2*time.Minute, func() bool { s.alive(b); return s.ready() })
	w.add(s.name, "warm-start", time.Since(began).Seconds())
	s.inSync(b, time.Minute)
	time.Sleep(time.Second) // for what it may still do
	w.add(s.name, "warm-posts", float64(s.gateway.writes()-before))
	w.add(s.name, "warm-files", float64(changed(files, s.files(b))))
	w.add(s.name, "warm-written", written(b, s.pid))
}

// files are the conf file and what lies beside it, with the time of their last change. The lock has the process's ID: each
// start writes it.
func (s *subject) files(b *testing.B) map[string]time.Time {
	b.Helper()
	all := map[string]time.Time{}
	err := filepath.WalkDir(s.gateway.upstreams, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".lock") {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all[path] = info.ModTime()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return all
}

// changed counts the files that are new, gone, or written anew.
func changed(before, now map[string]time.Time) int {
	count := 0
	for path, at := range now {
		if was, ok := before[path]; !ok || !was.Equal(at) {
			count++
		}
	}
	for path := range before {
		if _, ok := now[path]; !ok {
			count++
		}
	}
	return count
}

// idle takes the processor time while nothing changes.
func (w *world) idle(b *testing.B, s *subject) {
	b.Helper()
	wait := 20 * time.Second // two comparisons of the live state, at the default of one in 10 s
	if *long || w.services >= 5000 {
		wait = time.Minute
	}
	if w.services < 1000 {
		wait = 5 * time.Second
	}
	time.Sleep(2 * time.Second) // the garbage of the start
	before := use(b, s.pid)
	time.Sleep(wait)
	cpu, _, seconds := use(b, s.pid).since(before)
	w.idleCPU = cpu / seconds
	w.add(s.name, "idle", cpu/seconds/10)
}
