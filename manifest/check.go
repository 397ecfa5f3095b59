package manifest

import (
	"fmt"
	"slices"
	"strings"
)

// checkService holds the keys of one service against each other, once all of
// them are read.
func (r *reader) checkService(v value, s *Service) {
	r.checkMounts(v, s)
	r.checkCommand(r.key(v, "command"), s)

	if s.HTTP != 0 && slices.Contains(s.TCP, s.HTTP) {
		r.refuse(r.key(v, "tcp"), "write it once, as http", "port %d is the http port", s.HTTP)
	}
	switch {
	case s.Template:
		r.only(v, "a template is started by a spawn and reached by no name", "http", "tcp", "stdio", "provides", "restart", "depends_on", "stop_grace_period", "healthcheck", "on_unhealthy")
	case s.Stdio != "":
		r.only(v, "a stdio service runs once per call and keeps nothing running", "http", "tcp", "restart", "stop_grace_period", "healthcheck", "on_unhealthy")
		if len(s.Provides) == 0 {
			r.refuse(r.key(v, "stdio"), "write provides: [{call: …}]", "a stdio service without a method never runs")
		}
	}
	r.checkInstances(r.key(v, "instances"), s)
	if !s.pooled() {
		r.only(v, "it is for instances: per-label and per-principal, which stay for the next caller", "idle", "max_instances")
	}
	if s.Warm > 0 {
		r.checkWarm(r.key(v, "warm"), s)
	}
	if s.Fork != nil {
		r.checkFork(r.key(v, "warm"), s)
	}
	if s.Ahead != nil {
		r.checkAhead(v, s)
	}
	r.checkMarks(v, s)
	r.checkHealth(r.key(v, "healthcheck"), s)
	for i, o := range s.Volumes {
		if o.SizeBytes == Unlimited && o.Inodes > 0 {
			r.refuse(r.place(v, o.Pos, fmt.Sprintf("%s.volumes[%d].inodes", v.key, i)), "leave it out, or give a size", "without a limit of size nothing counts its files")
		}
		open := strings.Contains(o.Name, principalMark)
		at := r.place(v, o.Pos, fmt.Sprintf("%s.volumes[%d].name", v.key, i))
		switch {
		case open && !s.perPrincipal():
			r.refuse(at, "write instances: per-principal", "%q: %s is known only with instances: per-principal", o.Name, principalMark)
		case !open && s.perPrincipal() && !o.ReadOnly:
			r.refuse(at, fmt.Sprintf("name it %s-%s, or write read_only: true", o.Name, principalMark),
				"volume %q would be shared by the instances of all principals", o.Name)
		case s.Instances == perLabel && !o.ReadOnly:
			r.refuse(at, "write read_only: true, or let a service own it that has its instances shared",
				"volume %q has one label, and the instances of %s that could write to it have many", o.Name, s.Name)
		}
	}
}

// checkWarm refuses spares that could not become what is wanted of them.
func (r *reader) checkWarm(at value, s *Service) {
	most := s.MaxInstances
	orElse(&most, defaultMaxInstances)
	switch {
	case s.Template, s.Stdio != "": // environments wait, not instances
	case s.pooled() && s.Warm > most:
		r.refuse(at, fmt.Sprintf("write max_instances: %d", s.Warm), "%d spares are more than the %d instances that may run", s.Warm, most)
	case !s.pooled() && s.Warm > 1:
		r.refuse(at, "write warm: 1", "%q has one instance, and needs no more than one that stands by", s.Name)
	case !s.pooled() && slices.ContainsFunc(s.Volumes, func(o Volume) bool { return !o.ReadOnly }):
		r.refuse(at, "write read_only: true at its volumes, or let another service keep what it has to keep", "%q writes to a volume, and two that run would both", s.Name)
	}
}

// only refuses keys that make no sense in this kind of service.
func (r *reader) only(v value, reason string, keys ...string) {
	for _, name := range keys {
		if at := r.key(v, name); at.node != v.node {
			r.refuse(at, "leave it out", "%s", reason)
		}
	}
}

func (r *reader) checkInstances(v value, s *Service) {
	var want string
	switch {
	case s.Template:
		want = perPrincipal
	case s.Stdio != "":
		want = perCall
	case s.Instances == perCall:
		r.refuse(v, "write stdio: lines, or per-label", "per-call is not possible here: %s would have to end with each call", s.Name)
		return
	default:
		return
	}
	if s.Instances != "" && s.Instances != want {
		r.refuse(v, "write "+want+" or leave it out", "%s is not possible here: %s has its instances %s", s.Instances, s.Name, want)
	}
}

// perPrincipal tells whether an instance runs for somebody; before the defaults
// are filled in, too.
func (s *Service) perPrincipal() bool { return s.Template || s.Instances == perPrincipal }

// key is what stands under name in the mapping v; v itself if nothing does.
func (r *reader) key(v value, name string) value {
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		if k := v.node.Content[i]; k.Value == name {
			return v.under(k, k)
		}
	}
	return v
}

// checkCycles refuses services that wait for each other.
func (r *reader) checkCycles(v value, a *App) {
	const waiting, done = 1, 2
	state := make(map[string]int)
	var path []string
	var visit func(s *Service)
	visit = func(s *Service) {
		switch state[s.Name] {
		case done:
			return
		case waiting:
			cycle := append(path[slices.Index(path, s.Name):len(path):len(path)], s.Name)
			at := r.place(v, s.Pos, "services."+s.Name+".depends_on")
			r.refuse(at, "", "they wait for each other: %s", strings.Join(cycle, " → "))
			return
		}
		state[s.Name] = waiting
		path = append(path, s.Name)
		for _, name := range s.DependsOn {
			if other := a.Service(name); other != nil {
				visit(other)
			}
		}
		path = path[:len(path)-1]
		state[s.Name] = done
	}
	for _, s := range a.Services {
		visit(s)
	}
}
