// Package simulation runs the whole controller in a world that is made of one number.
//
// The syncer, the guard, the store and the delivery are the real ones. What they stand on is not: the registries, the
// nginx behind each gateway, the disk and the clock are simulated, and everything that happens to them is drawn from
// the seed. Registries go away, come back empty, list half or last week. nginx hangs, says 200 and does nothing,
// loses workers, answers without having read its queue, starts again from the conf file. The disk fills up; the daemon
// is killed between any two operations on it; the power fails, and what was never synced is gone, or there in part. A
// person approves, freezes and rolls back at the worst moment, a second daemon turns up with an older plan. Servers
// die, or only look dead to a gateway's host that is without a network; in half of the worlds the guard has a witness
// that connects to them, and in half of them services have routes, which change, move and are wanted by several.
//
// # One seed, one story
//
// A failure that can't be repeated is a rumour. Virtual time comes from testing/synctest, but nothing there says
// which of two goroutines runs first. So whatever touches the world waits its turn in one queue, and one at a time is
// picked from it, by the seed, when everybody else is asleep. The code that runs in between only thinks. Each pick is
// a line of the trace, and the same seed writes the same trace, hash for hash.
//
// Two rules keep that true. While the loop of a daemon is at the disk nobody else gets a turn: else it would find
// several things to do when it comes back, and Go's select would choose among them, with dice of its own. And no
// wait of the product has jitter here. TestReplay plays seeds again on one processor and on several, with everybody held
// up at random.
//
// # The oracle
//
// After each turn an oracle holds the world against the twelve invariants of the design. It knows the product only
// from outside. It has its own reader of the conf file, its own record of what each registry said and when, its own
// count of what was in traffic within the window, and its own idea of what may be removed, which is simpler than the
// guard's and follows from it. What it shares with the product is the names of things.
//
// What happened is counted, and has to have happened often enough: else an oracle that looks away, or a kind of trouble
// that nobody makes any more, would pass for a product without faults.
//
// # Gateways
//
// A gateway here is a model of an nginx with several workers, and a gateway in the syncer's sense that asks each of
// them. The real dyups gateway has the same faults played to it, over HTTP, by its own suite against the strict
// double and a real Tengine. HTTP costs much more than a decision, so it is left out here and more stories are played.
//
// # Running it
//
// make simulate SEEDS=N plays N worlds; a failure names the seed, and the command that plays it again. To list every seed
// that fails, of a million worlds say:
//
//	GOGC=1600 go test ./simulation -run TestSimulate -count 1 -timeout 0 -args -seeds 1000000 -all
package simulation
