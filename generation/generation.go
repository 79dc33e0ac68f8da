// Package generation defines the states that follow one another in the conf file: the accepted set, who ordered it,
// and what an operator has frozen.
package generation

import (
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// Generation is one accepted set as written to the conf file.
type Generation struct {
	Number int
	Time   time.Time
	// Digest is the SHA-256 of the written upstream blocks, in hex.
	Digest string
	Set    upstream.Set
	// Leaving names upstreams that are in no set any longer, but whose removal not every gateway has confirmed yet.
	// It is written so that a restart does not forget them.
	Leaving []string
	// Pushing names upstreams whose options have changed and that not every gateway has confirmed yet. A gateway that
	// can't show options must not be assumed to have them.
	Pushing []string
	// Strangers names upstreams that gateways have but swallowkeeper never wrote, in lower case. It is written so
	// that their names are not considered free after a restart during which a gateway can't be reached.
	Strangers []string
	// Base is the number of servers when the guard began to hold removals, as written by earlier versions. It is read
	// but no longer written.
	Base int
	// Guard is the guard's memory, as lines that only package guard reads.
	Guard []string
	// Notes counts the writes without a new number, that is, of Leaving, Pushing, Strangers, Guard and Frozen.
	Notes int
	// Writer names the process that wrote it.
	Writer string
	// Reason is why the generation was written.
	Reason reason.Reason
	// Signed is who ordered it; the zero value if nobody did.
	Signed Signature
	// Frozen is what an operator has frozen, ordered by name.
	Frozen []Freeze
}
