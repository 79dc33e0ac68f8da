//go:build !race

package main

// coldServices is how many services a cold start has.
const coldServices = 3000
