// Package syncer keeps gateways in sync with registries. A change passes through it from top to bottom:
//
//	intake.go    the latest set of each registry
//	schedule.go  when to decide
//	judge.go     asks the guard and the witness
//	syncer.go    merge, judge, save, hand on: Run repeats it
//	once.go      the same, once
//	order.go     an operator's orders, carried out between two decisions
//	takeover.go  continues from what another process wrote to the conf file
//	delivery.go  brings one gateway in sync with what was saved, and keeps it so
//
// It knows registries and gateways by their contracts, and the store by [Store]. All state that a restart needs is in
// the conf file.
package syncer
