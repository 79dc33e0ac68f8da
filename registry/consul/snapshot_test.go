package consul

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/consultestserver"
)

// TestRealSnapshotRestored sees at once what a restored snapshot took away and brought back, although the queries
// that wait come back with the index that they asked for.
func TestRealSnapshotRestored(t *testing.T) {
	for _, test := range []struct {
		name        string
		connections int
	}{
		{"a watch each", 0},
		{"mostly swept", 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := consultestserver.Start(t)
			c := server.Client(t)
			registerReal(t, c, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
			registerReal(t, c, registration("n1", "job", "j1", "10.0.0.1", 81, "critical"))
			registerReal(t, c, registration("n1", "old", "o1", "10.0.0.1", 82, "passing"))
			snapshot, _, err := c.Snapshot().Save(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer snapshot.Close()

			cfg := testConfig(server.Addr)
			cfg.Connections = test.connections
			w := run(t, newTestRegistry(t, cfg, silent()))
			w.servers("web", 1)
			registerReal(t, c, registration("n1", "web", "w2", "10.0.0.2", 80, "passing"))
			registerReal(t, c, registration("n1", "job", "j1", "10.0.0.1", 81, "passing"))
			registerReal(t, c, registration("n1", "new", "n1", "10.0.0.1", 83, "passing"))
			if _, err := c.Catalog().Deregister(&api.CatalogDeregistration{Node: "n1", ServiceID: "o1"}, nil); err != nil {
				t.Fatal(err)
			}
			w.until("what is registered after", func(s upstreamSet) bool {
				return serversOf(s, "web") == 2 && serversOf(s, "job") == 1 && serversOf(s, "new") == 1 && serversOf(s, "old") == -1
			})
			if err := c.Snapshot().Restore(nil, snapshot); err != nil {
				t.Fatal(err)
			}
			w.until("what the snapshot has", func(s upstreamSet) bool {
				return serversOf(s, "web") == 1 && serversOf(s, "job") == 0 && serversOf(s, "new") == -1 && serversOf(s, "old") == 1
			})
			if err := w.r.Condition().Trouble; err != nil {
				t.Error(err)
			}
		})
	}
}
