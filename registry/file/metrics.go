package file

import (
	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/registry"
)

// newMetrics counts the reads of all registries of this kind.
func newMetrics(to prometheus.Registerer) (registry.Meter, error) {
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "swallowkeeper_file_reads_total", Help: "Times that a registry's files were read, by how it went.",
	}, []string{"registry", "outcome"})
	return reads, to.Register(reads)
}
