package consultestserver

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// ports are those that one Consul listens on.
type ports struct{ http, https, server, serf int }

// Below the range that kernels give to outgoing connections (from 32768 on Linux, 49152 on macOS):
// a port in there could be taken while Consul restarts, even by a client that dials that very port.
const (
	firstPort = 10000
	lastPort  = 29999
)

// choosePorts returns ports on which nobody listens at this moment.
func choosePorts() (ports, error) {
	var held []interface{ Close() error }
	defer func() {
		for _, h := range held {
			_ = h.Close()
		}
	}()
	var chosen [4]int
	for i, tries := 0, 0; i < len(chosen); tries++ {
		if tries == 1000 {
			return ports{}, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
		}
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		stream, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		held = append(held, stream)
		// Consul's gossip uses both.
		packet, err := net.ListenPacket("udp", loopback(port))
		if err != nil {
			continue
		}
		held = append(held, packet)
		chosen[i] = port
		i++
	}
	return ports{http: chosen[0], https: chosen[1], server: chosen[2], serf: chosen[3]}, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
