package bench

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"swallowkeeper/internal/consultestserver"
)

var (
	long    = flag.Bool("long", false, "100 changes a second for ten minutes, and every idling for one")
	changes = flag.Int("changes", 60, "how many changes each latency is of")
	only    = flag.String("programs", "", "measure these alone: ours,base,consul-template")
	binary  = flag.String("ours", "", "measure this swallowkeeper in place of one that is built from here")
	profile = flag.String("profile", "", "keep profiles of ours in this folder")
	file    = flag.String("json", "", "add the results to this file")
)

// world is a catalog, the way to it, and what is measured there.
type world struct {
	way      string
	services int
	catalog  *catalog
	floor    *gateway
	report   *Report
	idleCPU  float64 // of the program that is at work, in ms a second

	floorFirst, floorLast []float64
}

// BenchmarkReach measures all figures, in one world after the other. Run it with -benchtime 1x. It prints the table of
// what was measured, and with -json FILE adds the results to the file.
func BenchmarkReach(b *testing.B) {
	report := newReport(b)
	list := programs(b)
	for _, way := range []string{HTTPS, Plain, OneNode} {
		for _, services := range []int{10, 50, 1000, 5000} {
			if way == OneNode && services < 1000 {
				continue // all are watched, as with more nodes
			}
			b.Run(fmt.Sprintf("%s/%d", way, services), func(b *testing.B) {
				for b.Loop() {
					measure(b, way, services, list, report)
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
	if err := report.Table(os.Stdout); err != nil {
		b.Fatal(err)
	}
}

func measure(b *testing.B, way string, services int, list []program, report *Report) {
	nodes := 10
	if way == OneNode {
		nodes = 1
	}
	w := &world{way: way, services: services, report: report}
	w.catalog = newCatalog(b, services, nodes)
	w.floor = newGateway(b)
	for _, p := range list {
		switch {
		case *only != "" && !slices.Contains(strings.Split(*only, ","), p.name):
			continue
		case p.name == Template && (os.Getenv("TENGINE_BIN") == "" || services > 1000):
			continue // only Tengine's upstreams are those of its files, which a reload reads; 5,000 connections are too many
		case p.name == Template && services > 150:
			// It takes a connection a service: at Consul's default limit it does not come up.
			w.catalog = newCatalog(b, services, nodes, consultestserver.WithMaxConnsPerClient(4096))
		}
		if way != OneNode {
			w.floorChanges(b)
		}
		s := newSubject(b, p, w.catalog, way)
		w.run(b, s)
		s.stop()
		save(b, report)
	}
}

func (w *world) run(b *testing.B, s *subject) {
	b.Helper()
	w.coldStart(b, s)
	stop := memory(s.process)
	b.Cleanup(func() { stop() })
	w.idle(b, s)
	if w.way == OneNode {
		w.coldChanges(b, s)
	} else {
		w.hotChanges(b, s)
	}
	if w.services == 1000 {
		w.threeHundred(b, s)
		if s.name != Template { // one reload takes longer than the time between two changes
			w.profiled(b, s, "churn", func() { w.hundredASecond(b, s) })
		}
	}
	s.inSync(b, time.Minute)
	w.add(s.name, "rss", Percentile(stop(), 50))
	if s.name != Template {
		w.warmStart(b, s)
	}
}

func (w *world) add(program, figure string, value float64) {
	w.report.Merge(&Report{
		When: w.report.When, Commit: w.report.Commit, Machine: w.report.Machine, Gateway: w.report.Gateway,
		Consul: w.report.Consul, Long: w.report.Long, Results: []Result{{figure, program, w.way, w.services, value, nil}},
	})
	fmt.Printf("%s %s/%d %s %s: %.3g\n", time.Now().Format(time.TimeOnly), w.way, w.services, program, figure, value)
}

func (w *world) samples(program, figure string, samples []float64, percentile int) {
	w.add(program, figure, Percentile(samples, percentile))
	w.report.Results[len(w.report.Results)-1].Samples = samples
}

func newReport(b *testing.B) *Report {
	b.Helper()
	commit, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return &Report{
		When: time.Now().UTC().Format("2006-01-02 15:04 UTC"), Commit: strings.TrimSpace(string(commit)), Long: *long,
		Machine: fmt.Sprintf("%d processors, load %s, %s, %s/%s", runtime.NumCPU(), load(), runtime.Version(), runtime.GOOS, runtime.GOARCH),
		Gateway: gatewayName(), Consul: consulVersion(b),
	}
}

// load is how many processes wanted a processor in the minute before: figures of a busy machine say little.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

func consulVersion(b *testing.B) string {
	b.Helper()
	out, err := exec.Command(consultestserver.Binary(b), "version").Output()
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}

// save adds what was measured so far to the file, so that a run that is cut short has measured something.
func save(b *testing.B, report *Report) {
	b.Helper()
	if *file == "" {
		return
	}
	all := report
	if f, err := os.Open(*file); err == nil {
		before, err := Read(f)
		f.Close()
		if err != nil {
			b.Fatalf("%s: %v", *file, err)
		}
		before.Merge(report)
		all = before
	}
	f, err := os.Create(*file)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := all.Write(f); err != nil {
		b.Fatal(err)
	}
}
