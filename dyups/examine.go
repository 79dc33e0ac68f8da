package dyups

import (
	"context"
	"net/http"
	"strings"
	"time"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/gateway"
)

// Examine asks the interface once, over its own connection.
func (g *Gateway) Examine(ctx context.Context) (gateway.Examination, error) {
	c, usual := g.config, DefaultConfig()
	x := gateway.Examination{
		Ask:    curl(c.Address, "-si", "/list") + "   # look at nginx, the address and the port",
		Remove: func(upstream string) string { return curl(c.Address, "-X DELETE", "/upstream/"+upstream) },
		API: &gateway.API{
			Address: c.Address, Cost: cost,
			Queue: gateway.Queue{Bytes: c.QueueBytes, ReadTimeout: c.ReadMsgTimeout},
			Usual: gateway.Queue{Bytes: usual.QueueBytes, ReadTimeout: usual.ReadMsgTimeout},
		},
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	base, dial := endpoint(c.Address)
	l := &link{dial: dial}
	defer l.close()
	listener := &headerOf{next: l}
	client := &Client{BaseURL: base, HTTPClient: &http.Client{Transport: listener, CheckRedirect: noRedirect}}
	sent := time.Now()
	names, err := client.List(ctx)
	if err != nil {
		return x, err
	}
	x.Upstreams = names
	if date, err := http.ParseTime(listener.header.Get("Date")); err == nil {
		x.Ahead = date.Add(time.Second / 2).Sub(sent.Add(time.Since(sent) / 2))
	}
	if l.worker == "" {
		x.Findings = append(x.Findings, finding.Finding{
			Check: "worker-header", Severity: finding.Warning,
			What: "Its answers do not say which worker they come from",
			Why: "A change reaches the other workers up to a second later, and one that " +
				"crashed serves old servers unseen.",
			Change: "add_header " + workerHeader + " $pid always;   # in the interface's location",
		})
	}
	if l.static == "?" {
		x.Findings = append(x.Findings, finding.Finding{
			Check: "own-upstreams", Severity: finding.Warning,
			What: "The API in Lua can't tell which upstreams nginx's own configuration has",
			Why: "A service of the same name is not left out. Where nginx includes the conf file, it does not " +
				"start any more: duplicate upstream.",
			Change: "nginx must not include the conf file: the library reads it. The error log says why it " +
				"can't tell",
		})
	}
	return x, nil
}

// curl returns the command line for a call to the interface.
func curl(address, options, path string) string {
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		return "curl " + options + " --unix-socket " + socket + " http://localhost" + path
	}
	return "curl " + options + " " + strings.TrimSuffix(address, "/") + path
}

// headerOf keeps the header of the last answer.
type headerOf struct {
	next   http.RoundTripper
	header http.Header
}

func (h *headerOf) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := h.next.RoundTrip(req)
	if err == nil {
		h.header = resp.Header
	}
	return resp, err
}
