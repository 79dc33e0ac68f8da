// Package bench measures swallowkeeper as it is installed, between a real Consul and a real Tengine: how long a change takes
// to reach the traffic, and what it costs. Beside each figure stands its floor, the same figure of the program of before
// (BASE) and of consul-template, all measured in one run. Absolute times depend on the machine: quote the ratios.
//
// The package holds the figures, their goals and the table; its benchmarks measure them. They report and never fail on
// time, but each checks at its end that every worker has what Consul has.
package bench
