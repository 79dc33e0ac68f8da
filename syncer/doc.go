// Package syncer keeps gateways in sync with registries. One change goes through it
// top to bottom:
//
//	intake.go    the latest set of each registry
//	schedule.go  when to decide
//	judge.go     asks the guard and the witness
//	syncer.go    merge, judge, save, hand on: Run repeats it
//	once.go      the same, once
//	order.go     a person's orders, carried out between two decisions
//	delivery.go  brings one gateway to what was saved, and keeps it there
//
// It knows registries and gateways by their contracts, and the store by [Store]. It
// holds nothing that a restart needs: that is in the conf file.
package syncer
