package consul

import (
	"context"
	"errors"
	"time"
)

// follow runs blocking queries until one fails. read waits for a state newer than index, processes the answer, and
// reports whether anything changed.
func (w *watch) follow(ctx context.Context, loop string, read func(context.Context, uint64) (reply, bool, error)) error {
	p := pace{slow: rounds(loop)}
	var index uint64
	for {
		// A query may return without a change, and some agents and proxies return at once, so rounds without changes
		// are limited.
		if err := p.wait(ctx); err != nil {
			return err
		}
		got, news, err := read(ctx, index)
		var cut *cutShort
		if errors.As(err, &cut) {
			continue
		}
		if err != nil {
			return err
		}
		if news {
			p.news()
		}
		w.trouble.over(loop)
		index = following(index, got)
	}
}

// following returns the index to wait for next. An index that goes backwards comes from a server that started over, and
// an early answer may come from one whose state was replaced: then the current state is read at once. An index below 1
// would not wait.
func following(index uint64, got reply) uint64 {
	switch {
	case got.index < index, got.early:
		return 0
	case got.index < 1:
		return 1
	}
	return got.index
}

// supervise restarts a loop until the context ends.
func (w *watch) supervise(ctx context.Context, loop, what string, run func(context.Context) error) {
	defer w.endpoint.metrics.watching(w.name)()
	_ = w.retry.Run(ctx, run, func(err error, _ time.Duration) {
		w.endpoint.metrics.restarted(w.name)
		w.trouble.report(loop, what, err)
	})
	if w.ctx.Err() == nil { // the end of the run is not a recovery
		w.trouble.over(loop)
	}
}

// rounds returns the minimum time of a round without changes. For the list of services it is longer, as it returns for
// each change but seldom differs.
func rounds(loop string) time.Duration {
	if loop == listLoop {
		return 4 * paceEvery
	}
	return paceEvery
}
