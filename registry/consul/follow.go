package consul

import (
	"context"
	"errors"
	"time"
)

// follow runs one blocking query after the other until one fails: read asks, waiting for
// what is newer than index, takes the answer in, and says whether it brought news.
func (w *watch) follow(ctx context.Context, loop string, read func(context.Context, uint64) (reply, bool, error)) error {
	var p pace
	var index uint64
	for {
		// A return is no proof of change, and some agents and proxies return at once: the
		// number of rounds that bring nothing is bounded.
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

// following is the index to wait beyond. One that goes backwards comes from a server that
// began anew, and one that is back too early may come from one whose state was replaced: what it has now is read
// at once. One below 1 would not wait at all.
func following(index uint64, got reply) uint64 {
	switch {
	case got.index < index, got.early:
		return 0
	case got.index < 1:
		return 1
	}
	return got.index
}

// supervise keeps a loop running until the context ends.
func (w *watch) supervise(ctx context.Context, loop, what string, run func(context.Context) error) {
	defer w.endpoint.metrics.watching(w.name)()
	_ = w.retry.Run(ctx, run, func(err error, _ time.Duration) {
		w.endpoint.metrics.restarted(w.name)
		w.trouble.report(loop, what, err)
	})
	if w.ctx.Err() == nil { // the end of the run mends nothing
		w.trouble.over(loop)
	}
}
