package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// line says a sentence with the time since the start.
func (s *stage) line(format string, args ...any) {
	at := fmt.Sprintf("%6.1fs  ", time.Since(s.began).Seconds())
	text := s.view.wrap(fmt.Sprintf(format, args...), len(at))
	s.view.say("%s%s", s.view.faint(at), text)
}

// pause is for the reader's eye, so there is none where nobody looks.
func (s *stage) pause(ctx context.Context, d time.Duration) {
	if !s.options.Terminal {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// sum is the bill at the end.
func (s *stage) sum(verdict string) {
	count, v := s.client.count(), s.view
	failed := func(n int) string {
		if n > 0 {
			return v.bad(fmt.Sprintf("%8d", n))
		}
		return v.good(fmt.Sprintf("%8d", n))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", v.faint("  service   instances   requests   failed"))
	for _, service := range slices.Sorted(maps.Keys(count.requests)) {
		fmt.Fprintf(&b, "  %-9s %9d   %8d %s\n", service, s.started[service], count.requests[service], failed(count.failed[service]))
	}
	fmt.Fprintf(&b, "  %-9s %9s   %8d %s\n\n", "all", "", sum(count.requests), failed(sum(count.failed)))
	fmt.Fprintf(&b, "  %s %d, generations of the conf file written %d, in %.0f s",
		s.pushes, s.pushed(), s.status().Generation.Number, time.Since(s.began).Seconds())
	if verdict != "" {
		fmt.Fprintf(&b, "\n\n  %s", v.good(verdict))
	}
	v.say("%s", b.String())
}

func ms(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d ms", max(1, d.Milliseconds()))
}
