package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// service is a service of a swarm with its tasks.
type service struct {
	base  workload // common to all tasks
	tasks []workload
}

// services reads the services of a swarm and their tasks, but not virtual addresses: behind one, tasks can't be told
// apart.
func (r *Registry) services(ctx context.Context, e *engine) ([]service, error) {
	services, err := call(ctx, e, "list the services", func(ctx context.Context) (client.ServiceListResult, error) {
		return e.ServiceList(ctx, client.ServiceListOptions{})
	})
	if err == nil && services.Items == nil {
		err = errNothing
	}
	if err != nil {
		return nil, err
	}
	tasks, err := call(ctx, e, "list the tasks", func(ctx context.Context) (client.TaskListResult, error) {
		return e.TaskList(ctx, client.TaskListOptions{Filters: make(client.Filters).Add("desired-state", "running")})
	})
	if err == nil && tasks.Items == nil {
		err = errNothing
	}
	if err != nil {
		return nil, err
	}
	nodes := map[string]netip.Addr{}
	if r.cfg.Address == published && len(tasks.Items) > 0 {
		list, err := call(ctx, e, "list the nodes", func(ctx context.Context) (client.NodeListResult, error) {
			return e.NodeList(ctx, client.NodeListOptions{})
		})
		if err == nil && len(list.Items) == 0 {
			err = errNothing
		}
		if err != nil {
			return nil, err
		}
		for _, n := range list.Items {
			// A manager may report 0.0.0.0; then its other address is right.
			ip, err := netip.ParseAddr(n.Status.Addr)
			if (err != nil || ip.IsUnspecified()) && n.ManagerStatus != nil {
				if at, err := netip.ParseAddrPort(n.ManagerStatus.Addr); err == nil {
					ip = at.Addr()
				}
			}
			nodes[n.ID] = ip
		}
	}
	return arrange(services.Items, tasks.Items, nodes)
}

var errNoService = errors.New("a service of the list has no id or no name")

// arrange assigns tasks to their services.
func arrange(services []swarm.Service, tasks []swarm.Task, nodes map[string]netip.Addr) ([]service, error) {
	of := map[string][]swarm.Task{}
	for _, t := range tasks {
		if t.ID == "" || t.Status.State == "" {
			return nil, fmt.Errorf("task %.30q of the list has no id or no state", t.ID)
		}
		of[t.ServiceID] = append(of[t.ServiceID], t)
	}
	var all []service
	for _, s := range services {
		spec := s.Spec.TaskTemplate.ContainerSpec
		switch {
		case s.ID == "" || s.Spec.Name == "":
			return nil, errNoService
		case spec == nil || s.Spec.Mode.ReplicatedJob != nil || s.Spec.Mode.GlobalJob != nil:
			continue // a plugin, or a job that ends
		}
		one := service{base: workload{name: s.Spec.Name, labels: map[string]string{}, env: environment(spec.Env)}}
		maps.Copy(one.base.labels, spec.Labels)
		maps.Copy(one.base.labels, s.Spec.Labels)
		one.base.labels[swarmService] = s.Spec.Name
		for _, p := range s.Endpoint.Ports {
			if p.Protocol != network.TCP {
				continue
			}
			one.base.exposed = append(one.base.exposed, int(p.TargetPort))
			if p.PublishMode != swarm.PortConfigPublishModeHost {
				one.base.meshed = append(one.base.meshed, int(p.TargetPort))
			}
		}
		slices.Sort(one.base.exposed)
		one.base.exposed = slices.Compact(one.base.exposed)
		for _, t := range of[s.ID] {
			one.tasks = append(one.tasks, taskOf(one.base, t, nodes))
		}
		all = append(all, one)
	}
	return all, nil
}

func taskOf(base workload, t swarm.Task, nodes map[string]netip.Addr) workload {
	w := base
	w.id = t.ID
	w.name += "." + strconv.Itoa(t.Slot) + "." + t.ID
	if t.Slot == 0 { // of a global service
		w.name = base.name + "." + t.NodeID + "." + t.ID
	}
	for _, n := range t.NetworksAttachments {
		if n.Network.Spec.Ingress {
			continue
		}
		a := attachment{name: n.Network.Spec.Name}
		for _, p := range n.Addresses {
			if p.IsValid() {
				a.addrs = append(a.addrs, p.Addr())
			}
		}
		if len(a.addrs) > 0 {
			w.networks = append(w.networks, a)
		}
	}
	slices.SortFunc(w.networks, func(a, b attachment) int { return strings.Compare(a.name, b.name) })
	for _, p := range t.Status.PortStatus.Ports {
		if p.Protocol == network.TCP && p.PublishMode == swarm.PortConfigPublishModeHost && p.PublishedPort != 0 {
			w.bindings = append(w.bindings, binding{int(p.TargetPort), int(p.PublishedPort), nodes[t.NodeID]})
		}
	}
	slices.SortFunc(w.bindings, binding.compare)
	if t.Status.State != swarm.TaskStateRunning {
		w.out = taskState.With(string(t.Status.State))
		w.unhealthy = t.Status.State == swarm.TaskStateStarting
	}
	return w
}

// judgeService judges each task, and the service itself: without tasks it is registered but not usable.
func (c *Config) judgeService(s service, d upstream.Defaults, origin string) []Instance {
	bare := s.base
	bare.out = reason.Reason{}
	all := c.judge(bare, d, origin)
	for i := range all {
		all[i].ID = ""
		if !all[i].apart { // its tasks tell everything
			all[i].Out = reason.Reason{}
		}
	}
	for _, t := range s.tasks {
		all = append(all, c.judge(t, d, origin)...)
	}
	return all
}
