// Package status is the operator's surface over HTTP: the page, the API, metrics and
// health. It shows and steers what a [Daemon] is, and knows no registry, gateway or disk.
package status
