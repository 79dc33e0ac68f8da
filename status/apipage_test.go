package status_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"swallowkeeper/internal/golden"
)

// TestAPIPage: docs/api.md has the document for people.
func TestAPIPage(t *testing.T) {
	doc := document(t)
	var p strings.Builder
	fmt.Fprintf(&p, "# API\n\n<!-- Written by the test of package status from status/openapi.yaml: go test ./status -run TestAPIPage -update -->\n\n%s\n"+
		"The same for programs: `/api/v1/openapi.yaml`. On the machine itself:\n"+
		"`curl --unix-socket /run/swallowkeeper/swallowkeeper.sock http://localhost/api/v1/status`.\n\n## Paths\n\n| Request | |\n| --- | --- |\n", doc.Info.Description)
	type request struct {
		name      string
		operation *openapi3.Operation
	}
	var all []request
	for _, path := range doc.Paths.InMatchingOrder() {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodPut, http.MethodPatch} {
			if o := doc.Paths.Value(path).GetOperation(method); o != nil {
				all = append(all, request{method + " " + path, o})
			}
		}
	}
	slices.SortFunc(all, func(a, b request) int {
		_, x, _ := strings.Cut(a.name, " ")
		_, y, _ := strings.Cut(b.name, " ")
		return cmp.Or(strings.Compare(x, y), strings.Compare(a.name, b.name))
	})
	for _, r := range all {
		fmt.Fprintf(&p, "| `%s` | %s |\n", r.name, cell(r.operation.Summary))
	}
	for _, r := range all {
		fmt.Fprintf(&p, "\n### %s\n\n%s\n", r.name, r.operation.Summary)
		if r.operation.Description != "" {
			fmt.Fprintf(&p, "%s\n", strings.TrimSpace(r.operation.Description))
		}
		p.WriteString("\n")
		for _, parameter := range r.operation.Parameters {
			v := parameter.Value
			fmt.Fprintf(&p, "- `%s` (%s%s): %s\n", v.Name, v.In, map[bool]string{true: ", required"}[v.Required], cmp.Or(v.Description, kind(v.Schema)))
		}
		if body := r.operation.RequestBody; body != nil {
			fmt.Fprintf(&p, "- Body: %s\n", content(body.Value.Content))
		}
		answers := r.operation.Responses.Map()
		var failures []string
		for _, code := range slices.Sorted(maps.Keys(answers)) {
			if answers[code].Ref != "" { // to the one Failure
				failures = append(failures, code)
				continue
			}
			fmt.Fprintf(&p, "- %s: %s, %s\n", code, *answers[code].Value.Description, content(answers[code].Value.Content))
		}
		if len(failures) > 0 {
			fmt.Fprintf(&p, "- %s: [Failure](#failure)\n", strings.Join(failures, ", "))
		}
	}
	p.WriteString("\n## Objects\n\nA field in italics may be absent.\n")
	for _, name := range slices.Sorted(maps.Keys(doc.Components.Schemas)) {
		s := doc.Components.Schemas[name].Value
		fmt.Fprintf(&p, "\n### %s\n\n", name)
		if s.Description != "" {
			fmt.Fprintf(&p, "%s\n\n", s.Description)
		}
		if len(s.Properties) == 0 {
			fmt.Fprintf(&p, "%s\n", kind(&openapi3.SchemaRef{Value: s}))
			continue
		}
		p.WriteString("| Field | Type | |\n| --- | --- | --- |\n")
		for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
			shown := "`" + field + "`"
			if !slices.Contains(s.Required, field) {
				shown = "*" + shown + "*"
			}
			of := s.Properties[field]
			fmt.Fprintf(&p, "| %s | %s | %s |\n", shown, kind(of), cell(of.Value.Description))
		}
	}
	golden.File(t, "../docs/api.md", p.String())
}

// cell is a text in a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

// content names what a body has.
func content(of openapi3.Content) string {
	var all []string
	for media, c := range of {
		text := "`" + media + "`"
		if c.Schema != nil && media == "application/json" {
			text = kind(c.Schema)
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return cmp.Or(strings.Join(all, " or "), "no body")
}

// kind names a type, with a link to an object of the page.
func kind(s *openapi3.SchemaRef) string {
	if s.Ref != "" {
		name := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
		return fmt.Sprintf("[%s](#%s)", name, strings.ToLower(name))
	}
	v := s.Value
	switch {
	case len(v.Enum) > 0:
		var all []string
		for _, e := range v.Enum {
			all = append(all, fmt.Sprintf("`%v`", e))
		}
		return strings.Join(all, ", ")
	case len(v.AllOf) == 1:
		return kind(v.AllOf[0])
	case len(v.Properties) > 0:
		var all []string
		for _, field := range slices.Sorted(maps.Keys(v.Properties)) {
			all = append(all, fmt.Sprintf("`%s`: %s", field, kind(v.Properties[field])))
		}
		return "object of " + strings.Join(all, ", ")
	case v.Items != nil:
		return "list of " + kind(v.Items)
	case v.AdditionalProperties.Schema != nil:
		return "map to " + kind(v.AdditionalProperties.Schema)
	case v.Format != "":
		return v.Format
	case v.Type == nil:
		return "any"
	default:
		return strings.Join(v.Type.Slice(), " or ")
	}
}
