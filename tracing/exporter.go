package tracing

import (
	"context"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"swallowkeeper/internal/safetext"
)

// sayAgain is the interval between log messages about traces that can't be sent.
const sayAgain = 10 * time.Minute

// exporter logs failures. It hides them from the SDK, which would write them directly to standard error.
type exporter struct {
	sdktrace.SpanExporter
	log   logrus.FieldLogger
	life  context.Context //nolint:containedctx // limits every request, however long the SDK would wait
	cut   context.CancelFunc
	ended chan struct{} // closed when the SDK has shut it down

	mu      sync.Mutex
	failing bool // failing and logged
	said    time.Time
}

func newExporter(to sdktrace.SpanExporter, log logrus.FieldLogger) *exporter {
	life, cut := context.WithCancel(context.Background())
	return &exporter{SpanExporter: to, log: log, life: life, cut: cut, ended: make(chan struct{})}
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	e.tell(e.SpanExporter.ExportSpans(ctx, spans))
	return nil
}

func (e *exporter) tell(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err == nil && e.failing:
		e.failing = false
		e.log.Info("traces are sent again")
	case err != nil && time.Since(e.said) >= sayAgain:
		e.failing, e.said = true, time.Now()
		e.log.WithField("error", safetext.Runes(err.Error(), mostText)).Warn("traces can't be sent: they are dropped")
	}
}

// Shutdown implements sdktrace.SpanExporter. The SDK calls it last.
func (e *exporter) Shutdown(ctx context.Context) error {
	defer close(e.ended)
	_ = e.SpanExporter.Shutdown(ctx) // a timeout here is already reported by the request for the spans
	return nil
}
