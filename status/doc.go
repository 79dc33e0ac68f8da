// Package status serves the operator's HTTP interface: the page, the API, metrics and health. It shows and controls a
// [Daemon], and knows nothing about registries, gateways or disks.
package status
