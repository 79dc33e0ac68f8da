package consultest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func after(r *http.Request, prefix string) string { return strings.TrimPrefix(r.URL.Path, prefix) }

func (s *Server) healthService(w http.ResponseWriter, r *http.Request) (any, error) {
	q := r.URL.Query()
	name := after(r, "/v1/health/service/")
	if name == "" {
		return nil, badRequest("Missing service name")
	}
	if err := refuseParams(q, "node-meta", "peer", "sg", "sameness-group"); err != nil {
		return nil, err
	}
	filter, err := parseIDFilter("Service.ID", q.Get("filter"))
	if err != nil {
		return nil, err
	}
	passing := q.Has("passing") && q.Get("passing") == ""
	if p := q.Get("passing"); p != "" {
		if passing, err = strconv.ParseBool(p); err != nil {
			return nil, badRequest("Invalid value for ?passing")
		}
	}
	return s.query(w, r, read{
		index: func() uint64 { return s.st.indexOf(name, checksIndex, servicesIndex, nodesIndex) },
		topics: func() []string {
			if _, ok := s.st.byName[name]; ok {
				return []string{healthTopic(name)}
			}
			return []string{servicesTopic}
		},
		answer: func(v *view) any {
			out := []wireHealth{}
			for _, i := range s.st.instancesOf(name) {
				if hasTags(i.rec, q["tag"]) && !v.hides(name) && filter(i.rec.ID) {
					out = append(out, wireHealth{i.node.rec, i.rec, checksOf(i)})
				}
			}
			if passing {
				out = onlyPassing(out)
			}
			return out
		},
		empty:  []wireHealth{},
		stream: true,
	})
}

// onlyPassing drops what is not passing just as Consul does: the last one takes the place of the one that goes,
// so that the order is not that of the full list. Warning goes as well.
func onlyPassing(list []wireHealth) []wireHealth {
	for i := 0; i < len(list); {
		if slices.ContainsFunc(list[i].Checks, func(c *wireCheck) bool { return c.Status != "passing" }) {
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
			continue
		}
		i++
	}
	return list
}

// hasTags tells whether an instance has all of the tags, whose case does not matter.
func hasTags(rec *wireService, want []string) bool {
	for _, t := range want {
		if !slices.ContainsFunc(rec.Tags, func(have string) bool { return strings.EqualFold(have, t) }) {
			return false
		}
	}
	return true
}

func (s *Server) healthState(w http.ResponseWriter, r *http.Request) (any, error) {
	state := after(r, "/v1/health/state/")
	if state == "" {
		return nil, badRequest("Missing check state")
	}
	topic := stateTopic(state)
	if state == "any" {
		topic = checksTopic
	}
	return s.checkList(w, r, topic, func(c *wireCheck) bool { return state == "any" || c.Status == state })
}

func (s *Server) healthNode(w http.ResponseWriter, r *http.Request) (any, error) {
	name := after(r, "/v1/health/node/")
	if name == "" {
		return nil, badRequest("Missing node name")
	}
	return s.checkList(w, r, nodeChecksTopic(name), func(c *wireCheck) bool { return strings.EqualFold(c.Node, name) })
}

func (s *Server) healthChecks(w http.ResponseWriter, r *http.Request) (any, error) {
	name := after(r, "/v1/health/checks/")
	if name == "" {
		return nil, badRequest("Missing service name")
	}
	return s.checkList(w, r, serviceChecksTopic(name), func(c *wireCheck) bool { return c.ServiceName == name })
}

// checkList answers with the checks that match, at the index of all checks: that is how Consul counts here.
func (s *Server) checkList(w http.ResponseWriter, r *http.Request, topic string, match func(*wireCheck) bool) (any, error) {
	q := r.URL.Query()
	if err := refuseParams(q, "node-meta", "peer"); err != nil {
		return nil, err
	}
	filter, err := parseStatusFilter(q.Get("filter"))
	if err != nil {
		return nil, err
	}
	return s.query(w, r, read{
		index:  func() uint64 { return s.st.indexes[checksIndex] },
		topics: func() []string { return []string{topic} },
		answer: func(v *view) any {
			out := []*wireCheck{}
			s.st.eachCheck(func(c *wireCheck) {
				if match(c) && !v.hides(c.ServiceName) && filter(c) {
					out = append(out, c)
				}
			})
			slices.SortFunc(out, compareChecks)
			return out
		},
		empty: []*wireCheck{},
	})
}
