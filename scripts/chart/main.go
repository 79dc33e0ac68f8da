// Command chart takes what benchmarks measured, as JSON, and writes the picture of it and the table in the documentation:
//
//	chart RESULTS.json PICTURE.svg PAGE.md
package main

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"os"
	"slices"
	"strings"

	"github.com/go-analyze/charts"

	"swallowkeeper/bench"
)

const (
	width, height = 1000, 760
	beginTable    = "<!-- the table of the results: written by make bench -->\n"
	endTable      = "<!-- the end of the table -->\n"
)

// colours are distinguishable by colour-blind people: Okabe and Ito's palette.
var colours = map[string]string{bench.Floor: "#999999", bench.Base: "#e69f00", bench.Template: "#56b4e9", bench.Ours: "#0072b2"}

// panel is a chart: a figure in some worlds.
type panel struct {
	figure, title, way string
	services           []int
}

var panels = []panel{
	{"first", "First request at the new server over HTTPS, p50, ms", bench.HTTPS, []int{10, 50, 1000, 5000}},
	{"first", "The same, not watched (HTTP, one node), ms", bench.OneNode, []int{1000, 5000}},
	{"change-cpu", "Processor time of one change over HTTPS, ms", bench.HTTPS, []int{50, 1000, 5000}},
	{"change-written", "Written to disk for one change, kB", bench.HTTPS, []int{50, 1000, 5000}},
	{"300-cpu", "300 changes at 10/s, 1,000 services: processor time, s", bench.HTTPS, []int{1000}},
	{"300-requests", "300 changes at 10/s, 1,000 services: requests", bench.HTTPS, []int{1000}},
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: chart RESULTS.json PICTURE.svg PAGE.md")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(results, picture, page string) error {
	f, err := os.Open(results)
	if err != nil {
		return err
	}
	defer f.Close()
	report, err := bench.Read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", results, err)
	}
	svg, err := draw(report)
	if err != nil {
		return fmt.Errorf("draw: %w", err)
	}
	if err := os.WriteFile(picture, svg, 0o644); err != nil {
		return err
	}
	return fill(page, report)
}

func draw(report *bench.Report) ([]byte, error) {
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: width, Height: height})
	p.FilledRect(0, 0, width, height, charts.ColorWhite, charts.ColorWhite, 0)
	const across = 2
	w, h := width/across, height/(len(panels)/across)
	for i, one := range panels {
		x, y := i%across*w, i/across*h
		if err := one.draw(p.Child(charts.PainterBoxOption(charts.NewBox(x, y, x+w, y+h))), report); err != nil {
			return nil, err
		}
	}
	svg, err := p.Bytes()
	if err != nil {
		return nil, err
	}
	return described(svg, report)
}

// values returns a panel's values by program, and which programs have any.
func (one panel) values(report *bench.Report) (programs []string, values [][]float64) {
	for _, program := range []string{bench.Floor, bench.Base, bench.Template, bench.Ours} {
		row := make([]float64, len(one.services))
		any := false
		for i, services := range one.services {
			value, ok := report.Value(one.figure, program, one.way, services)
			if row[i] = charts.GetNullValue(); ok {
				row[i], any = value, true
			}
		}
		if any {
			programs, values = append(programs, program), append(values, row)
		}
	}
	return programs, values
}

func (one panel) draw(p *charts.Painter, report *bench.Report) error {
	programs, values := one.values(report)
	if len(programs) == 0 {
		return nil // not measured
	}
	o := charts.NewBarChartOptionWithData(values)
	o.Padding = charts.NewBoxEqual(12)
	var inks []charts.Color
	for _, program := range programs {
		inks = append(inks, charts.ParseColor(colours[program]))
	}
	o.Theme = charts.GetTheme(charts.ThemeLight).WithSeriesColors(inks)
	small := charts.FontStyle{FontSize: 9}
	o.ValueAxis = []charts.ValueAxisOption{{Min: charts.Ptr(0.0), LabelFontStyle: small}}
	o.CategoryAxis.LabelFontStyle = small
	o.Title = charts.TitleOption{Text: one.title, FontStyle: charts.FontStyle{FontSize: 11}}
	o.Legend = charts.LegendOption{SeriesNames: programs, FontStyle: small, Offset: charts.OffsetStr{Left: charts.PositionRight, Top: "22"}}
	for _, services := range one.services {
		o.CategoryAxis.Labels = append(o.CategoryAxis.Labels, bench.Amount(float64(services))+" services")
	}
	for i := range o.SeriesList {
		o.SeriesList[i].Label = charts.SeriesLabel{Show: charts.Ptr(true), ValueFormatter: bench.Amount, FontStyle: small}
	}
	return p.BarChart(o)
}

// described adds a text alternative to the picture.
func described(svg []byte, report *bench.Report) ([]byte, error) {
	var text strings.Builder
	for _, one := range panels {
		programs, values := one.values(report)
		for i, services := range one.services {
			var words []string
			for j, program := range programs {
				if values[j][i] != charts.GetNullValue() {
					words = append(words, program+" "+bench.Amount(values[j][i]))
				}
			}
			if len(words) > 0 {
				fmt.Fprintf(&text, "%s, %s services: %s.\n", one.title, bench.Amount(float64(services)), strings.Join(words, ", "))
			}
		}
	}
	end := bytes.IndexByte(svg, '>')
	if !bytes.HasPrefix(svg, []byte("<svg ")) || end < 0 {
		return nil, errors.New("the library made no SVG")
	}
	head := ` role="img" aria-labelledby="title text"><title id="title">What changes cost</title><desc id="text">` + html.EscapeString(text.String()) + "</desc>"
	return slices.Concat(svg[:end], []byte(head), svg[end+1:]), nil
}

// fill writes the table between its marks.
func fill(page string, report *bench.Report) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), beginTable)
	_, after, ended := strings.Cut(rest, endTable)
	if !ok || !ended {
		return fmt.Errorf("%s has no place for the table, between %s and %s", page, strings.TrimSpace(beginTable), strings.TrimSpace(endTable))
	}
	var table strings.Builder
	if err := report.Table(&table); err != nil {
		return err
	}
	return os.WriteFile(page, []byte(before+beginTable+"\n"+table.String()+"\n"+endTable+after), 0o644)
}
