package agent

import (
	"cmp"
	"slices"
	"strconv"

	"swallowkeeper/registry/docker"
	"swallowkeeper/registry/register"
)

// entries returns what to register: everything that runs and can be reached. Leaving instances are omitted; unhealthy
// ones are marked.
func entries(node string, all []docker.Instance, leaving map[string]int) []register.Entry {
	var found []register.Entry
	for _, i := range all {
		healthy := i.Out.IsZero()
		_, stopped := leaving[i.ID]
		if i.ID == "" || !i.Reached || i.Leaving || stopped || !healthy && !i.Unhealthy {
			continue
		}
		e := register.Entry{
			ID: node + ":" + i.Container + ":" + strconv.Itoa(i.Port), Service: i.Service, Address: i.Server.Addr,
			Healthy: healthy, Weight: i.Server.Weight, Tags: i.Tags, Container: i.Container, ContainerID: i.ID,
			Auth: i.Auth,
		}
		if !healthy {
			e.Why = i.Out.String()
		}
		for _, r := range i.Routes {
			r.Origin = ""
			e.Routes = append(e.Routes, r.Text())
		}
		found = append(found, e)
	}
	slices.SortFunc(found, func(a, b register.Entry) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Service, b.Service))
	})
	return slices.CompactFunc(found, func(a, b register.Entry) bool { return a.ID == b.ID })
}
