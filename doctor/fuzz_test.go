package doctor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/doctor"
)

// FuzzExamine holds that no configuration, however odd, breaks the checks, and that every
// finding says all that it has to.
func FuzzExamine(f *testing.F) {
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		facts := testFacts("/etc/nginx")
		var found []doctor.Finding
		facts.Nginx, facts.Elsewhere, found = doctor.ReadNginx(t.Context(),
			doctor.NginxSource{File: "-", Stdin: strings.NewReader("# configuration file /etc/nginx/nginx.conf:\n" + text)})
		for _, f := range append(found, doctor.Examine(facts)...) {
			if f.Check == "" || f.What == "" || f.Where == "" || f.Why == "" || f.Change == "" {
				t.Errorf("a part is missing: %+v", f)
			}
		}
	})
}
