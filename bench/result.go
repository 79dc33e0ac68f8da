package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// The measured programs.
const (
	Floor    = "floor" // one blocking query for the one service, one POST, one GET per worker
	Ours     = "ours"
	Base     = "base" // the swallowkeeper named by BASE
	Template = "consul-template"
)

// The ways to Consul, each with its default limits.
const (
	HTTPS   = "https"     // ten nodes
	Plain   = "plain"     // plain HTTP, ten nodes
	OneNode = "plain-one" // plain HTTP, all on one node
)

// Result is a measured figure.
type Result struct {
	Figure   string    `json:"figure"`
	Program  string    `json:"program"`
	Way      string    `json:"way"`
	Services int       `json:"services"`
	Value    float64   `json:"value"`
	Samples  []float64 `json:"samples,omitempty"`
}

// Report has the results of a run, and where it ran.
type Report struct {
	When    string   `json:"when"`
	Commit  string   `json:"commit"`
	Machine string   `json:"machine"`
	Gateway string   `json:"gateway"`
	Consul  string   `json:"consul"`
	Long    bool     `json:"long"` // with -long
	Results []Result `json:"results"`
}

// Value returns a figure of a program, and whether it was measured.
func (r *Report) Value(figure, program, way string, services int) (float64, bool) {
	for _, one := range r.Results {
		if one.Figure == figure && one.Program == program && one.Way == way && one.Services == services {
			return one.Value, true
		}
	}
	return 0, false
}

// Read reads a report written by Write.
func Read(from io.Reader) (*Report, error) {
	r := &Report{}
	if err := json.NewDecoder(from).Decode(r); err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	return r, nil
}

// Write writes the report as JSON, one figure per line.
func (r *Report) Write(to io.Writer) error {
	head := *r
	head.Results = []Result{}
	text, err := json.Marshal(head)
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	text = bytes.TrimSuffix(text, []byte("]}"))
	for i, one := range r.Results {
		line, err := json.Marshal(one)
		if err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(text, '\n'), line...)
	}
	if _, err := to.Write(append(text, "\n]}\n"...)); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// Merge adds the results of another run, which override existing ones.
func (r *Report) Merge(other *Report) {
	r.Results = slices.DeleteFunc(r.Results, func(one Result) bool {
		_, again := other.Value(one.Figure, one.Program, one.Way, one.Services)
		return again
	})
	r.Results = append(r.Results, other.Results...)
	r.When, r.Commit, r.Machine, r.Gateway, r.Consul, r.Long = other.When, other.Commit, other.Machine, other.Gateway, other.Consul, other.Long
}

// Percentile returns the p-th percentile of samples, or 0 without samples.
func Percentile(samples []float64, p int) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}
