package docker

import (
	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/registry"
)

// newMetrics counts the reads of all registries of the kind.
func newMetrics(to prometheus.Registerer) (registry.Meter, error) {
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "swallowkeeper_docker_reads_total", Help: "Times that all containers of an engine were read, by how it went.",
	}, []string{"registry", "outcome"})
	return reads, to.Register(reads)
}
