package tracing

import (
	"context"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"swallowkeeper/internal/safetext"
)

// sayAgain is how often the log is told that traces can't be sent.
const sayAgain = 10 * time.Minute

// exporter tells our log of failures. It tells the SDK of none, which would write them to
// standard error past the log.
type exporter struct {
	sdktrace.SpanExporter
	log   logrus.FieldLogger
	life  context.Context //nolint:containedctx // of every request, whatever the SDK would wait for
	cut   context.CancelFunc
	ended chan struct{} // closed when the SDK is done with it

	mu      sync.Mutex
	failing bool // and the log knows
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

// Shutdown implements sdktrace.SpanExporter. It is the last that the SDK calls.
func (e *exporter) Shutdown(ctx context.Context) error {
	defer close(e.ended)
	_ = e.SpanExporter.Shutdown(ctx) // that it took too long is no news: the spans' own request tells
	return nil
}
