package tracing

// TimeUp does what the limit of every open change does.
func (t *Tracer) TimeUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.changes {
		c.end()
	}
}
