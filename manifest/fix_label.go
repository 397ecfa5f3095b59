package manifest

import (
	"fmt"
	"strings"

	"cofferdam/guard"
	"cofferdam/label"
)

// FixLabel is what to write so that an instance of a service passes where labels
// refused it: one way for each entry, all of which is to be done. Op and object are
// those of the record, p the privileges that were used, and s what the instance was.
func (a *App) FixLabel(service, op, object string, s guard.State, p label.Privileges, no *guard.Refusal) []string {
	svc := a.Service(service)
	if svc == nil {
		return nil
	}
	var ways []string
	clearance := func(need label.Label) string {
		return a.fix(svc.Pos, "services."+svc.Name+".clearance", "'"+need.String()+"'")
	}
	if no.Missing != (label.Privileges{}) {
		if way := a.fixPower(svc, op, object, p, no.Missing); way != "" {
			ways = append(ways, way)
		}
	}
	bounded := strings.HasSuffix(no.Rule, "⊑ clearance")
	// What it reads it may also rise to.
	if no.To == s.Label && !bounded {
		need, err := s.Label.Join(no.From.DowngradeUnder(no.With))
		if err == nil && !need.FlowsTo(s.Clearance) {
			ways = append(ways, clearance(higher(svc.Clearance.text, need))+", and raise the label to "+need.String()+" in the program")
		}
	}
	if bounded && svc.Clearance.open == nil {
		ways = append(ways, clearance(higher(svc.Clearance.text, no.From)))
	}
	return ways
}

// fixPower is to use a privilege more, where the manifest can say so.
func (a *App) fixPower(svc *Service, op, object string, p, missing label.Privileges) string {
	if svc.Owns.open != nil {
		return "" // of whom, is not known here
	}
	var keys []string
	add := func(key string, had, more label.Formula) {
		if more != label.True {
			keys = append(keys, fmt.Sprintf("%s: '%s'", key, had.And(more)))
		}
	}
	add("out", p.Out, missing.Out)
	add("in", p.In, missing.In)
	where := "in the program: name the privileges " + strings.Join(keys, ", ")
	for i, u := range svc.Uses {
		if g, ok := a.used(u); ok && g.Object() == object && (g.Kind == op || op == "connect" && (g.Kind == "http" || g.Kind == "tcp")) {
			where = a.fix(u.Pos, fmt.Sprintf("services.%s.uses[%d]", svc.Name, i), strings.Join(keys, ", "))
		}
	}
	if need := missing.Out.And(missing.In); !svc.Owns.text.Implies(need) {
		where += "\n" + a.fix(svc.Pos, "services."+svc.Name+".owns", "'"+svc.Owns.text.And(need).String()+"'")
	}
	return where
}

// Gate is the gate that service.method is, nil if it is none.
func (a *App) Gate(call string) *Gate {
	service, method, _ := strings.Cut(call, ".")
	if s := a.Service(service); s != nil {
		if p := s.provide(method); p != nil {
			return p.Gate
		}
	}
	return nil
}
