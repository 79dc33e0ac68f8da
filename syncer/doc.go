// Package syncer keeps gateways in sync with registries. One change goes through it
// top to bottom:
//
//	intake.go    what each registry published last
//	guard.go     what of it is accepted, and what is held
//	syncer.go    merge, judge, save, hand on: Run decides again and again, RunOnce once
//	schedule.go  when to decide
//	delivery.go  one gateway is brought to what was saved, and kept there
//
// It knows registries, gateways and the store only by the interfaces that it
// declares, and holds nothing that a restart needs: that is in the conf file.
package syncer
