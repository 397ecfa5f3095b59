package monitor

import (
	"slices"
	"strings"

	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// end ends the instance of a principal, of a service to which e may connect for anyone: who is
// believed in whose instance it means may also say that it is no longer wanted. Whether there was
// one is not told; who comes next gets another one.
func (c *conn) end(f *wire.Frame) bool {
	req, err := wire.ParseEnd(f.Body)
	if err != nil {
		return c.reply(f.ID, wire.Malformed, errorText(err))
	}
	if err := c.env.endOf(&req); err != nil {
		return c.refuse(f.ID, err)
	}
	return c.reply(f.ID, wire.OK, nil)
}

func (e *Env) endOf(req *wire.End) error {
	has := e.rights.Load()
	v := has.grants.decideEnd(req.Service, len(e.id.Bound) > 0)
	num := e.m.calls.Add(1)
	to := has.policy.services[req.Service]
	if !v.Allowed || to == nil {
		if err := e.m.concludeFor(e, e.whom(req.Principal), opEnd, req.Service, num, v, forWhom(req.Principal), nil); err != nil {
			return err
		}
		return ErrDenied
	}
	who := e.payer()
	who.principal = req.Principal
	if err := who.within(e, opEnd, req.Service, 0, v.toll, has.policy.totals[KindConnect]); err != nil {
		return err
	}
	as, err := to.of(req.Principal)
	var labels *audit.Labels
	switch {
	case to.Instances != PerPrincipal:
		err = refused("%s has no instance for each principal", to.Name)
	case err != nil:
		err = refused("%s: %v", to.Name, err)
	default:
		labels = labelsOf(e.at(), label.Privileges{}, guard.Endpoint{Request: as.Flow.Label, Answer: as.Flow.Label})
		err = e.at().Tell(as.Flow.Label) // for it is seen there
	}
	if err != nil {
		v = Verdict{Rule: v.Rule + ": " + err.Error()}
	}
	logErr := e.m.concludeFor(e, req.Principal, opEnd, req.Service, num, v, forWhom(req.Principal), labels)
	if err != nil {
		return err
	}
	if logErr != nil {
		return logErr
	}
	e.m.spawner.End(to.Name, Key{req.Principal, as.Flow})
	return nil
}

// decideEnd is decide for opEnd: any grant to connect to a port of that service for anyone is one.
func (g grants) decideEnd(service string, bound bool) Verdict {
	var of []string
	for to, grant := range g[KindConnect] {
		if strings.HasPrefix(to, service+":") && grant.ForAnyone {
			of = append(of, to)
		}
	}
	if len(of) == 0 {
		return Verdict{Rule: noGrant}
	}
	return g.decide(opEnd, slices.Min(of), bound)
}
