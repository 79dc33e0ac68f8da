//go:build !race

package consul

// tooMany is how many services there are where there are more than connections.
const tooMany = 1000
