package config

import (
	"fmt"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
)

// guard adjusts defaults of [guard] to other keys, and reports values that do not fit together. Each value is already
// valid on its own.
func (b *builder) guard() {
	p := place{section: "guard"}
	set := func(key string) bool { _, is := b.from[spot{p, key}]; return is }
	c := &b.cfg.Guard
	// Allowing more in one step implies the same for the window and for a single service.
	if !set("max_removal_window") {
		c.MaxRemovalWindow = max(c.MaxRemovalWindow, c.MaxRemoval)
	}
	if !set("max_service_removal") {
		c.MaxServiceRemoval = max(c.MaxServiceRemoval, c.MaxRemoval)
	}
	// A registry may be silent for this long before it sends news.
	wait, from := time.Duration(0), 0
	for i, r := range b.cfg.Registries {
		if w, waits := r.Config.(registry.Waiter); waits && w.Silence() > wait {
			wait, from = w.Silence(), i+1
		}
	}
	switch {
	case c.Recovery >= wait || b.refused[p]:
	case !set("recovery"):
		c.Recovery = wait
	default:
		b.wrong(b.source(p, "recovery"), notAllowed(&setting.Error{
			Key: "recovery", Value: c.Recovery,
			Allowed: fmt.Sprintf("a duration from %q up, which registry %d waits for news", setting.FormatDuration(wait), from),
		}, false))
	}
}
