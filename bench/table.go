package bench

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// wayWords describe the ways to Consul.
var wayWords = map[string]string{HTTPS: "HTTPS", Plain: "HTTP", OneNode: "HTTP, one node"}

// Table writes a table of all results in Markdown, readable as plain text.
func (r *Report) Table(to io.Writer) error {
	if _, err := fmt.Fprintf(to, "%s, commit %s, %s. Gateway: %s. %s.\n\n", r.When, r.Commit, r.Machine, r.Gateway, r.Consul); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	rows := [][]string{{"Figure", "Services", "Consul by", Floor, Base, Template, Ours, "ours / floor", "ours / base", "Goal", "Met", "Run"}}
	for _, f := range figures {
		for _, way := range []string{HTTPS, Plain, OneNode} {
			for _, services := range []int{10, 50, 1000, 5000} {
				if row := r.row(f, way, services); row != nil {
					rows = append(rows, row)
				}
			}
		}
	}
	return write(to, rows)
}

// row returns the row of a figure in one world, or nil if it was not measured.
func (r *Report) row(f figure, way string, services int) []string {
	cells := []string{f.words + ", " + f.unit, Amount(float64(services)), wayWords[way]}
	measured := false
	for _, program := range []string{Floor, Base, Template, Ours} {
		value, ok := r.Value(f.key, program, way, services)
		measured = measured || ok && program != Floor
		cells = append(cells, shown(value, ok))
	}
	if !measured {
		return nil
	}
	for _, of := range []string{Floor, Base} {
		ours, has := r.Value(f.key, Ours, way, services)
		other, had := r.Value(f.key, of, way, services)
		cells = append(cells, shown(ours/other, has && had && other > 0))
	}
	want, met := r.judged(f, way, services)
	return append(cells, want, met, fmt.Sprintf("`%s/%d`", way, services))
}

func shown(value float64, ok bool) string {
	if !ok {
		return ""
	}
	return Amount(value)
}

// write aligns the columns.
func write(to io.Writer, rows [][]string) error {
	wide := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			wide[i] = max(wide[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			b.WriteString("| " + cell + strings.Repeat(" ", wide[i]-utf8.RuneCountInString(cell)) + " ")
		}
		b.WriteString("|\n")
		if n == 0 {
			b.WriteString(strings.Repeat("| --- ", len(row)) + "|\n")
		}
	}
	if _, err := io.WriteString(to, b.String()); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}
