// Package tracing sends an OpenTelemetry collector one trace per change: from the registry's answer over guard and conf
// file to each gateway and its workers.
//
// Spans are created afterwards, from the syncer's events and their times. So the data path has no tracing and never
// waits for it. What the collector does not accept in time is dropped.
package tracing

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/syncer"
)

const (
	// open is how long the span of a whole change waits for its gateways. Later spans still belong to its trace.
	open = 30 * time.Second
	// mostChanges is how many changes are remembered for gateways that are behind.
	mostChanges = 64
	// mostText limits the length of a value, which may contain names from a registry.
	mostText = 300
	// farewell limits Close.
	farewell = 2 * time.Second
)

// Tracer makes traces from events. A nil Tracer does nothing.
type Tracer struct {
	provider *sdktrace.TracerProvider
	exporter *exporter
	tracer   trace.Tracer
	gateways []string

	mu      sync.Mutex
	changes []*change // that some gateway may still push, oldest first
	newest  int       // the last generation seen
	early   []syncer.Event
}

// change is a change being delivered.
type change struct {
	generation int
	ctx        context.Context //nolint:containedctx // only carries the trace
	span       trace.Span
	behind     []string // gateways that have not shown it yet
	last       time.Time
	limit      *time.Timer
}

// New returns a tracer for changes to these gateways, or nil if neither the configuration nor the standard OTEL_…
// variables name a collector.
func New(c Config, version string, gateways []string, log logrus.FieldLogger) (*Tracer, error) {
	if !c.on() {
		return nil, nil //nolint:nilnil // a nil tracer is disabled
	}
	to, err := newTarget(c)
	if err != nil {
		return nil, err
	}
	ctx := context.Background() // nothing connects yet
	sends, err := otlptrace.New(ctx, newClient(to))
	if err != nil {
		return nil, fmt.Errorf("make the traces' exporter: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "swallowkeeper"), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe this program to the traces' collector: %w", err)
	}
	limits := sdktrace.NewSpanLimits()
	limits.AttributeValueLengthLimit = mostText
	e := newExporter(sends, log)
	t := &Tracer{exporter: e, gateways: gateways}
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(e, sdktrace.WithBatchTimeout(time.Second)),
		sdktrace.WithResource(about), sdktrace.WithRawSpanLimits(limits))
	t.tracer = t.provider.Tracer("swallowkeeper")
	return t, nil
}

// Observe takes an event. It never blocks.
func (t *Tracer) Observe(e syncer.Event) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Kind {
	case syncer.EventGeneration:
		t.begin(e)
		early := t.early
		t.early = nil
		for _, e := range early {
			t.delivered(e)
		}
	case syncer.EventPushed, syncer.EventOutOfSync:
		t.delivered(e)
	}
}

// delivered handles the result of a gateway. A fast gateway may have a generation before the syncer's event for it
// arrives: that result is kept. The mutex is held.
func (t *Tracer) delivered(e syncer.Event) {
	switch {
	case e.Generation > t.newest:
		t.early = append(t.early, e)
		t.early = t.early[max(0, len(t.early)-mostChanges):]
	case e.Kind == syncer.EventPushed:
		t.pushed(e)
	case e.Err != nil:
		t.failed(e)
	}
}

// begin opens the trace of a change. The mutex is held.
func (t *Tracer) begin(e syncer.Event) {
	seen := cmp.Or(e.Timing.Seen, e.Timing.Decided, e.Time)
	ctx, span := t.tracer.Start(context.Background(), "change", trace.WithTimestamp(seen), trace.WithAttributes(
		attribute.Int("swallowkeeper.generation", e.Generation),
		attribute.String("swallowkeeper.change", safetext.Runes(e.Text.String(), mostText)),
		attribute.Int("swallowkeeper.upstreams.added", e.Added),
		attribute.Int("swallowkeeper.upstreams.updated", e.Updated),
		attribute.Int("swallowkeeper.upstreams.removed", e.Removed),
		attribute.Int("swallowkeeper.servers.in", e.In),
		attribute.Int("swallowkeeper.servers.out", e.Out),
	))
	c := &change{generation: e.Generation, ctx: ctx, span: span, behind: slices.Clone(t.gateways), last: cmp.Or(e.Timing.Saved, e.Time)}
	t.stage(ctx, "guard", seen, e.Timing.Decided)
	t.stage(ctx, "conf file", e.Timing.Decided, e.Timing.Saved)
	c.limit = time.AfterFunc(open, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		c.end()
	})
	t.changes, t.newest = append(t.changes, c), e.Generation
	if len(t.changes) > mostChanges {
		t.changes[0].end()
		t.changes = slices.Delete(t.changes, 0, 1)
	}
	t.forget()
}

// stage adds a span if both its start and end are known.
func (t *Tracer) stage(ctx context.Context, name string, from, to time.Time, attributes ...attribute.KeyValue) context.Context {
	if from.IsZero() || to.IsZero() {
		return ctx
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithTimestamp(from), trace.WithAttributes(attributes...))
	span.End(trace.WithTimestamp(to))
	return ctx
}

// pushed records that a gateway shows a generation, and all before it. The mutex is held.
func (t *Tracer) pushed(e syncer.Event) {
	for _, c := range t.changes {
		i := slices.Index(c.behind, e.Gateway)
		if i < 0 || c.generation > e.Generation {
			continue
		}
		c.behind = slices.Delete(c.behind, i, i+1)
		if c.generation != e.Generation {
			continue // delivered with a later one
		}
		c.last = e.Timing.Pushed
		ctx := t.stage(c.ctx, "gateway", e.Timing.Pushing, e.Timing.Pushed,
			attribute.String("swallowkeeper.gateway", e.Gateway), attribute.Int("swallowkeeper.workers", e.Workers))
		t.stage(ctx, "post", e.Timing.Pushing, e.Timing.Posted)
		t.stage(ctx, "workers", e.Timing.Posted, e.Timing.Pushed)
	}
	t.forget()
}

// failed records that a gateway could not be brought to a generation. The mutex is held.
func (t *Tracer) failed(e syncer.Event) {
	for _, c := range t.changes {
		if c.generation != e.Generation || !slices.Contains(c.behind, e.Gateway) {
			continue
		}
		_, span := t.tracer.Start(c.ctx, "gateway", trace.WithTimestamp(e.Time),
			trace.WithAttributes(attribute.String("swallowkeeper.gateway", e.Gateway)))
		span.SetStatus(codes.Error, safetext.Runes(e.Err.Error(), mostText))
		span.End(trace.WithTimestamp(e.Time))
		c.span.SetStatus(codes.Error, "a gateway is out of sync")
		c.last = e.Time
	}
}

// forget ends the changes that every gateway has. The mutex is held.
func (t *Tracer) forget() {
	t.changes = slices.DeleteFunc(t.changes, func(c *change) bool {
		if len(c.behind) == 0 {
			c.end()
		}
		return len(c.behind) == 0
	})
}

// end closes the root span, once. The mutex is held.
func (c *change) end() {
	c.limit.Stop()
	if c.span.IsRecording() {
		if len(c.behind) > 0 {
			c.span.SetAttributes(attribute.StringSlice("swallowkeeper.gateways.behind", c.behind))
		}
		c.span.End(trace.WithTimestamp(c.last))
	}
}

// Close ends open spans and sends what it can in a short time.
func (t *Tracer) Close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	for _, c := range t.changes {
		c.end()
	}
	t.changes = nil
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if t.provider.Shutdown(ctx) != nil {
		// The collector does not answer: abort the requests in progress.
		t.exporter.cut()
		<-t.exporter.ended
	}
}
