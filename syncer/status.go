package syncer

import (
	"cmp"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// Status is a snapshot of the syncer's state.
type Status struct {
	Generation generation.Generation
	// Out has the notes on what is registered but gets no traffic.
	Out upstream.Outs
	// Stays are the servers that get traffic although no registry lists them as usable. Unserved are the upstreams of
	// registered services that have only such servers.
	Stays    []guard.ServerID
	Unserved []Unserved
	// Registries in the order of the configuration.
	Registries []RegistryStatus
	// Holds are the changes that the guard holds.
	Holds []guard.Hold
	// OnTrial are the holds that are not reported until the witness has answered, a few seconds at most.
	OnTrial []guard.Hold
	// StoreErr is why the conf file could not be written, or nil.
	StoreErr error
	Gateways []GatewayStatus
}

// RegistryStatus is the state of a registry.
type RegistryStatus struct {
	Name string
	// Answered is when it last published; the zero time if never.
	Answered time.Time
	// Trouble is why it can't be read now, or nil.
	Trouble error
	// Heard is when it last gave a good answer, with or without changes; the zero time if it does not tell.
	Heard time.Time
	// TroubleSince is when the trouble began; the zero time if there is none.
	TroubleSince time.Time
	// Hopeless means that retrying does not help.
	Hopeless bool
}

// GatewayStatus is the state of a gateway.
type GatewayStatus struct {
	Name string
	// InSync means that its own answers showed Generation at the time Checked.
	InSync     bool
	Generation int
	Checked    time.Time // the zero time before the first check
	Since      time.Time // since when it has been in sync, or out of sync
	Err        error     // why it is out of sync
	// Live and LiveServers are the numbers that it had at the last comparison, updated by what it accepted since.
	// Workers are its workers; empty if they can't be told apart.
	Live, LiveServers int
	Workers           []gateway.Worker
	// Out are the upstreams that it can't have as wanted, and why: it has their previous versions, or none. Routes
	// that it does not support are included.
	Out upstream.Outs
}

// InSync reports whether every gateway shows the newest generation and the conf file is as written.
func (s Status) InSync() bool {
	for _, g := range s.Gateways {
		if !g.InSync || g.Generation != s.Generation.Number {
			return false
		}
	}
	return s.StoreErr == nil
}

// Status returns the current state.
func (s *Syncer) Status() Status {
	s.mu.Lock()
	st := Status{
		Generation: s.gen, Out: s.out, Stays: s.stays, Unserved: s.unserved,
		Holds: s.holds, OnTrial: s.onTrial, StoreErr: cmp.Or(s.storeErr, s.verifyErr),
	}
	s.mu.Unlock()
	answered := s.intake.answered()
	for _, src := range s.parts.Sources {
		c := src.Registry.Condition()
		st.Registries = append(st.Registries, RegistryStatus{
			Name: src.Name, Answered: answered[src.Name], Trouble: c.Trouble, TroubleSince: c.Since, Heard: c.Heard,
			Hopeless: c.Hopeless(time.Now()),
		})
	}
	for _, d := range s.deliveries {
		st.Gateways = append(st.Gateways, d.status())
	}
	return st
}
