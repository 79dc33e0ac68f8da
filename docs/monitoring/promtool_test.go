package monitoring_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/kinds"
)

// promtool runs Prometheus's own checker: the one on the PATH.
func promtool(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs promtool")
	}
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not on the PATH; on Debian scripts/setup-tests.sh installs it")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestAlertRules(t *testing.T) {
	promtool(t, "", "check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml")
	promtool(t, "", "test", "rules", "alerts_test.yaml")
}

// TestEveryAlertIsTested wants both of each alert: a time at which it fires, and one at which it does not.
func TestEveryAlertIsTested(t *testing.T) {
	tests, readme := read(t, "alerts_test.yaml"), read(t, "README.md")
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(read(t, "alerts.yaml"), -1) {
		name := m[1]
		if !strings.Contains(tests, "alertname: "+name+", exp_alerts: []") {
			t.Errorf("no test shows when %s does not fire", name)
		}
		if !regexp.MustCompile(`alertname: ` + name + `\n\s+exp_alerts:\n\s+- exp_labels`).MatchString(tests) {
			t.Errorf("no test shows when %s fires", name)
		}
		if !strings.Contains(readme, "| "+name+" |") {
			t.Errorf("README.md does not say what to do at %s", name)
		}
	}
}

// TestDashboard has every query parsed, and run against nothing but its syntax.
func TestDashboard(t *testing.T) {
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) == 0 {
		t.Fatal("it has no panels")
	}
	// Recording rules are the way to have many parsed at once.
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for _, p := range d.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
		for _, q := range p.Targets {
			text, err := json.Marshal(q.Expr) // JSON's strings are YAML's, too
			if err != nil {
				t.Fatal(err)
			}
			rules.WriteString("  - {record: a, labels: {panel: " + strings.Map(word, p.Title) + "}, expr: " + string(text) + "}\n")
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", "--lint=none", file)
}

func word(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '_'
}

// TestScrape holds the metrics of a daemon at work to Prometheus's conventions and to the README.
func TestScrape(t *testing.T) {
	metrics, _ := tour(t, "text")
	// Of Go's own runtime metrics the client library answers for.
	var ours strings.Builder
	for line := range strings.Lines(metrics) {
		if strings.Contains(line, "swallowkeeper_") {
			ours.WriteString(line)
		}
	}
	promtool(t, ours.String(), "check", "metrics", "--extended")
	if strings.Contains(metrics, "forged") {
		t.Error("text from the registry became a label")
	}
	readme := read(t, "README.md")
	scraped := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (swallowkeeper_\w+)`).FindAllStringSubmatch(metrics, -1) {
		scraped[m[1]] = true
		if !strings.Contains(readme, "`"+m[1]+"`") {
			t.Errorf("README.md does not tell of %s", m[1])
		}
	}
	var other []string // what kinds measure that this daemon has none of
	for _, kind := range kinds.Registries()[1:] {
		other = append(other, "swallowkeeper_"+kind.Name+"_")
	}
	for _, kind := range kinds.Gateways()[1:] {
		other = append(other, "swallowkeeper_"+kind.Name+"_")
	}
	for name := range names(t) {
		if slices.ContainsFunc(other, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			continue
		}
		if !scraped[name] && name != "swallowkeeper_upstream_servers" { // switched off, as it is by default
			t.Errorf("%s is defined and a daemon at work does not have it", name)
		}
	}
}
