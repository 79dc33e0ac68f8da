package status_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(status.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestEveryRouteIsInTheDocumentAndTheReverse(t *testing.T) {
	var described []string
	for path, item := range document(t).Paths.Map() {
		for method, operation := range item.Operations() {
			described = append(described, method+" "+path)
			for _, code := range []int{401, 403, 500, 504} {
				if method != http.MethodGet && operation.Responses.Status(code) == nil {
					t.Errorf("%s %s has no %d", method, path, code)
				}
			}
		}
	}
	served := append(status.Routes(), "GET /metrics")
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("the document has\n%s\nand the server\n%s", strings.Join(described, "\n"), strings.Join(served, "\n"))
	}
}

// TestEveryFieldIsInTheDocument goes through all types that the daemon's methods take and give.
func TestEveryFieldIsInTheDocument(t *testing.T) {
	schemas := document(t).Components.Schemas
	types := map[string]reflect.Type{}
	daemon := reflect.TypeFor[status.Daemon]()
	for i := range daemon.NumMethod() {
		method := daemon.Method(i).Type
		for k := range method.NumIn() {
			collect(method.In(k), types)
		}
		for k := range method.NumOut() {
			collect(method.Out(k), types)
		}
	}
	collect(reflect.TypeFor[status.RollbackRequest](), types)
	if len(types) < 15 {
		t.Fatalf("only %v were found", slices.Collect(maps.Keys(types)))
	}
	for name, of := range types {
		schema, ok := schemas[name]
		if !ok {
			t.Errorf("%s has no schema", name)
			continue
		}
		var properties, required []string
		for _, f := range reflect.VisibleFields(of) {
			tag := strings.Split(f.Tag.Get("json"), ",")
			if f.Anonymous {
				continue
			}
			properties = append(properties, tag[0])
			if !slices.Contains(tag, "omitempty") && !slices.Contains(tag, "omitzero") {
				required = append(required, tag[0])
			}
		}
		same(t, name+"'s properties", slices.Collect(maps.Keys(schema.Value.Properties)), properties)
		same(t, name+"'s required", schema.Value.Required, required)
	}
	for name, schema := range schemas {
		if has := schema.Value.AdditionalProperties.Has; has == nil || *has {
			t.Errorf("%s lets other properties through", name)
		}
	}
}

func collect(of reflect.Type, into map[string]reflect.Type) {
	switch of.Kind() {
	case reflect.Slice, reflect.Pointer, reflect.Chan:
		collect(of.Elem(), into)
	case reflect.Struct:
		if into[of.Name()] != nil || of.PkgPath() != reflect.TypeFor[status.Status]().PkgPath() {
			return
		}
		into[of.Name()] = of
		for i := range of.NumField() {
			collect(of.Field(i).Type, into)
		}
	}
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s are %q in the document, %q in Go", what, got, want)
	}
}

// exchange is one request to a route.
type exchange struct {
	route string // method and path as in the document
	path  string // "" where it is the route's
	body  string
	code  int
	head  []string
}

func TestEveryAnswerIsAsTheDocumentSays(t *testing.T) {
	openapi3.DefineStringFormatValidator("date-time", openapi3.NewRegexpFormatValidator(openapi3.FormatOfStringDateTime))
	openapi3filter.RegisterBodyDecoder("application/yaml", openapi3filter.FileBodyDecoder)
	json := []string{"Accept", "application/json"}
	hostile := "/api/v1/upstreams/" + url.PathEscape(statustest.Hostile)
	large := `{"name":"` + strings.Repeat("x", 64<<10) + `"}`
	broken := statustest.Empty()
	broken.Change(func(s *statustest.State) {
		s.Broken = io.ErrUnexpectedEOF
		s.Dead = fmt.Errorf("the loop has not come round")
	})
	for name, c := range map[string]struct {
		daemon    *statustest.Fake
		exchanges []exchange
	}{
		"full": {statustest.New(), []exchange{
			{route: "GET /healthz", code: 200},
			{route: "GET /readyz", code: 200, head: json},
			{route: "GET /readyz", path: "/readyz?format=json", code: 200},
			{route: "GET /metrics", code: 200},
			{route: "GET /api/v1/openapi.yaml", code: 200},
			{route: "GET /api/v1/status", code: 200},
			{route: "GET /api/v1/upstreams", code: 200},
			{route: "GET /api/v1/upstreams/{name}", path: "/api/v1/upstreams/billing", code: 200},
			{route: "GET /api/v1/upstreams/{name}", path: hostile, code: 200},
			{route: "GET /api/v1/upstreams/{name}", path: "/api/v1/upstreams/nobody", code: 404},
			{route: "GET /api/v1/routes", code: 200},
			{route: "GET /api/v1/routes/match", path: "/api/v1/routes/match?method=get&url=http://shop.example/checkout/42", code: 200},
			{route: "GET /api/v1/routes/match", path: "/api/v1/routes/match?method=GET&url=/..", code: 400},
			{route: "GET /api/v1/routes/match", code: 400},
			{route: "GET /api/v1/gateways", code: 200},
			{route: "GET /api/v1/holds", code: 200},
			{route: "GET /api/v1/history", code: 200},
			{route: "GET /api/v1/diff", path: "/api/v1/diff?from=7&to=12", code: 200},
			{route: "GET /api/v1/diff", path: "/api/v1/diff?from=7", code: 400},
			{route: "GET /api/v1/diff", path: "/api/v1/diff?from=7&to=99", code: 404},
			{route: "GET /api/v1/diff", path: "/api/v1/diff?from=7&to=8", code: 409},
			{route: "GET /api/v1/plan", code: 200},
			{route: "GET /api/v1/timeline", code: 200},
			{route: "GET /api/v1/activity", code: 200},
			{route: "POST /api/v1/holds/{id}/approve", path: "/api/v1/holds/none/approve", code: 404},
			{route: "POST /api/v1/holds/{id}/approve", path: "/api/v1/holds/" + statustest.HoldID + "/approve", code: 200},
			{route: "POST /api/v1/freezes", body: `{"name":"login","for":"2h"}`, code: 200},
			{route: "POST /api/v1/freezes", body: `{"name":"login","for":"soon"}`, code: 400},
			{route: "POST /api/v1/freezes", body: `{"name":"nobody"}`, code: 404},
			{route: "POST /api/v1/freezes", body: large, code: 413},
			{route: "POST /api/v1/rollback", body: large, code: 413},
			{route: "DELETE /api/v1/freezes/{name}", path: "/api/v1/freezes/login", code: 200},
			{route: "DELETE /api/v1/freezes/{name}", path: "/api/v1/freezes/login", code: 404},
			{route: "POST /api/v1/rollback", body: `{"generation":10}`, code: 200},
			{route: "POST /api/v1/rollback", body: `{"generation":99}`, code: 404},
			{route: "POST /api/v1/rollback", body: `{"generation":8}`, code: 409},
			{route: "DELETE /api/v1/freezes/{name}", path: "/api/v1/freezes/*", code: 200},
		}},
		"empty": {statustest.Empty(), []exchange{
			{route: "GET /readyz", code: 503, head: json},
			{route: "GET /readyz", code: 503},
			{route: "GET /api/v1/status", code: 200},
			{route: "GET /api/v1/upstreams", code: 200},
			{route: "GET /api/v1/gateways", code: 200},
			{route: "GET /api/v1/holds", code: 200},
			{route: "GET /api/v1/history", code: 200},
			{route: "GET /api/v1/plan", code: 200},
			{route: "GET /api/v1/timeline", code: 200},
			{route: "GET /api/v1/activity", code: 200},
		}},
		"broken": {broken, []exchange{
			{route: "GET /healthz", code: 503},
			{route: "GET /api/v1/history", code: 500},
			{route: "GET /api/v1/diff", path: "/api/v1/diff?from=7&to=12", code: 500},
			{route: "GET /api/v1/plan", code: 500},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			doc := document(t)
			metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "up 1") })
			r := serve(t, c.daemon, "", status.Parts{Metrics: metrics})
			for _, e := range c.exchanges {
				checkExchange(t, doc, r, e)
			}
		})
	}
}

func checkExchange(t *testing.T, doc *openapi3.T, r *running, e exchange) {
	t.Helper()
	method, template, _ := strings.Cut(e.route, " ")
	if e.path == "" {
		e.path = template
	}
	a := r.ask(t, r.unix, method, e.path, e.body, e.head...)
	if a.StatusCode != e.code {
		t.Errorf("%s %s answers %d, want %d: %s", method, e.path, a.StatusCode, e.code, a.text)
		return
	}
	item := doc.Paths.Value(template)
	input := &openapi3filter.RequestValidationInput{
		Request: a.Request, QueryParams: a.Request.URL.Query(),
		Route: &routers.Route{Spec: doc, Path: template, PathItem: item, Method: method, Operation: item.GetOperation(method)},
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: a.StatusCode, Header: a.Header,
		Body:    io.NopCloser(bytes.NewReader([]byte(a.text))),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
		t.Errorf("%s %s: %v\n%.600s", method, e.path, err, a.text)
	}
}
