package syncer

import (
	"cmp"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// Status is what is true at one moment.
type Status struct {
	Generation upstream.Generation
	// Out is what is registered and gets no traffic, and why.
	Out []upstream.Out
	// Stays is what gets traffic although no registry lists it as usable, and Unserved the upstreams
	// of registered services that have nothing else.
	Stays    []guard.ServerID
	Unserved []Unserved
	// Registries in the order of the configuration.
	Registries []RegistryStatus
	// Holds are what the guard does not let through.
	Holds []guard.Hold
	// OnTrial are those of which nobody is told until the witness is heard, a few seconds at most.
	OnTrial []guard.Hold
	// StoreErr is why the conf file could not be written, nil where it could.
	StoreErr error
	Gateways []GatewayStatus
}

// RegistryStatus says how one registry is.
type RegistryStatus struct {
	Name string
	// Answered is when it published last; the zero time where it never did.
	Answered time.Time
	// Trouble is why it can't be read now, nil where it can.
	Trouble error
	// Heard is when it gave its last good answer, news or not; the zero time where it does not tell.
	Heard time.Time
	// TroubleSince is since when; the zero time where there is none.
	TroubleSince time.Time
}

// GatewayStatus says how one gateway is.
type GatewayStatus struct {
	Name string
	// InSync says that its own answers showed Generation when it was Checked last.
	InSync     bool
	Generation int
	Checked    time.Time // the zero time before the first check
	Since      time.Time // since when it is, or is not, in sync
	Err        error     // why it is not
	// Live and LiveServers are how many it used when it was asked last, and what it took since;
	// Workers are its workers, none where they can't be told apart.
	Live, LiveServers int
	Workers           []gateway.Worker
}

// InSync reports whether every gateway showed the newest generation.
func (s Status) InSync() bool {
	for _, g := range s.Gateways {
		if !g.InSync || g.Generation != s.Generation.Number {
			return false
		}
	}
	return s.StoreErr == nil
}

// Status is what is true now.
func (s *Syncer) Status() Status {
	s.mu.Lock()
	st := Status{
		Generation: s.gen, Out: s.out, Stays: s.stays, Unserved: s.unserved,
		Holds: s.holds, OnTrial: s.onTrial, StoreErr: cmp.Or(s.storeErr, s.verifyErr),
	}
	s.mu.Unlock()
	answered := s.intake.answered()
	for _, src := range s.Sources {
		c := src.Registry.Condition()
		st.Registries = append(st.Registries, RegistryStatus{
			Name: src.Name, Answered: answered[src.Name], Trouble: c.Trouble, TroubleSince: c.Since, Heard: c.Heard,
		})
	}
	for _, d := range s.deliveries {
		st.Gateways = append(st.Gateways, d.status())
	}
	return st
}
