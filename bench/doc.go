// Package bench measures swallowkeeper as it is installed, between a real Consul and a real Tengine: how long a change
// takes to reach traffic, and what it costs. Each figure is reported with its floor, and with the same figures of an
// earlier version (BASE) and of consul-template, all from one run. Absolute times depend on the machine, so quote the
// ratios.
//
// The package holds the figures, their goals and the table; its benchmarks do the measuring. A benchmark never fails
// because of time, but at its end each checks that every worker has what Consul has.
package bench
