package manifest

import "fmt"

// checkMarks refuses {principal} in the labels of a service whose instances run
// for nobody, and labels of endpoints that are those of the instance.
func (r *reader) checkMarks(v value, s *Service) {
	const reason = "its instances run for nobody; write instances: per-principal, or the name"
	open := func(at value, p *people) {
		if !s.perPrincipal() {
			r.refuseMark(at, p, reason)
		}
	}
	open(r.key(v, "label"), s.Label.open)
	open(r.key(v, "clearance"), s.Clearance.open)
	open(r.key(v, "owns"), s.Owns.open)
	endpoint := func(at value, e Endpoint) {
		open(at, e.Request.open)
		open(at, e.Answer.open)
		if (s.Instances == perLabel || s.Instances == perCall || s.Stdio != "") && (e.Request.given || e.Answer.given) {
			r.refuse(at, "leave request and answer out", "the labels are those of the instance, which are those of its caller and %s together", s.Name)
		}
	}
	for _, port := range s.Ports() {
		at := r.key(v, "tcp")
		if port == s.HTTP {
			at = r.key(v, "http")
		}
		endpoint(at, s.PortLabels[port])
	}
	for i, p := range s.Provides {
		at := r.place(v, p.Pos, fmt.Sprintf("%s.provides[%d]", v.key, i))
		if p.Gate != nil {
			r.checkGate(at, s, p)
			continue
		}
		endpoint(at, p.Endpoint)
	}
	for i, o := range s.Volumes {
		open(r.place(v, o.Pos, fmt.Sprintf("%s.volumes[%d].label", v.key, i)), o.Label.open)
	}
	for i, u := range s.Uses {
		at := r.place(v, u.Pos, fmt.Sprintf("%s.uses[%d]", v.key, i))
		for _, p := range []*people{u.Request.open, u.Answer.open, u.Out.open, u.In.open} {
			open(at, p)
		}
	}
}

func (r *reader) checkGate(at value, s *Service, p Provide) {
	switch {
	case s.Stdio == "":
		r.refuse(at, "write stdio: lines", "a gate is a program that is run anew for each use, so that nothing of one is left for the next")
	case p.Request.given || p.Answer.given:
		r.refuse(at, "write gate: {input: …, output: …}", "the labels of a gate are its input and its output")
	case p.Idempotent:
		r.refuse(at, "leave idempotent out", "each use of a gate is one release, and none is repeated")
	}
}
