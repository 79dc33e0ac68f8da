//go:build race

package consul

// tooMany is how many services there are where there are more than connections: the race detector makes all of it much
// slower, and a smaller one shows races as well.
const tooMany = 350
