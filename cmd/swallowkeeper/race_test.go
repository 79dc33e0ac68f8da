//go:build race

package main

// coldServices is how many services a cold start has: the race detector makes all of it
// much slower, and a smaller start shows races as well.
const coldServices = 500
