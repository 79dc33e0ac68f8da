package config

import (
	"fmt"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
)

// guard fits keys of [guard] to what others say, and finds what does not fit: within its table each is allowed.
func (b *builder) guard() {
	p := place{section: "guard"}
	set := func(key string) bool { _, is := b.from[spot{p, key}]; return is }
	c := &b.cfg.Guard
	// Whoever allows more for a step means the window and a single service, too.
	if !set("max_removal_window") {
		c.MaxRemovalWindow = max(c.MaxRemovalWindow, c.MaxRemoval)
	}
	if !set("max_service_removal") {
		c.MaxServiceRemoval = max(c.MaxServiceRemoval, c.MaxRemoval)
	}
	// A registry may be silent for so long and still be about to tell news.
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
		b.wrong(b.whence(p, "recovery"), notAllowed(&setting.Error{
			Key: "recovery", Value: c.Recovery,
			Allowed: fmt.Sprintf("a duration from %q up, which registry %d waits for news", setting.FormatDuration(wait), from),
		}, false))
	}
}
