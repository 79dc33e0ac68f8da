package dyups

import (
	"context"
	"net/http"
	"time"
)

// Examination is what one answer of an interface shows, for whoever looks for what is set
// up wrong.
type Examination struct {
	// Worker says that the answer names the worker that it comes from.
	Worker bool
	// StaticUnknown says that it would tell which names nginx's own configuration has, and can't.
	StaticUnknown bool
	// Live is the names of the worker's upstreams.
	Live []string
	// Ahead is how far nginx's clock is before ours, to a second; 0 where it does not say.
	Ahead time.Duration
}

// Examine asks the interface once, over a connection of its own.
func Examine(ctx context.Context, c Config) (Examination, error) {
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
		return Examination{}, err
	}
	x := Examination{Worker: l.worker != "", StaticUnknown: l.static == "?", Live: names}
	if date, err := http.ParseTime(listener.header.Get("Date")); err == nil {
		x.Ahead = date.Add(time.Second / 2).Sub(sent.Add(time.Since(sent) / 2))
	}
	return x, nil
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

// QueueCost is what one change takes of nginx's shared memory (dyups_shm_zone_size) until
// every worker has read it, for a name and a body of so many bytes.
func QueueCost(name, body int) int { return cost(name, body) }
