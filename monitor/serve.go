package monitor

import (
	"slices"
	"sync/atomic"
	"time"

	"cofferdam/guard"
	"cofferdam/wire"
)

// serving is a method that a connection answers. It lasts: at a label at which its
// instance could not answer, or stand in for another one, it is not asked either.
// What it was asked before, it may answer still.
type serving struct {
	lasting
	method *method
	ended  atomic.Bool
}

// serve decides which methods of its own service c is to answer from now on: all
// of those that are named, or none. One that it answers already stays as it is.
func (c *conn) serve(body []byte) (more []*serving, err error) {
	var names []string
	if err := wire.ParseFields(body, func(key uint8, val []byte) error {
		if key != wire.KeyMethod {
			return wire.ErrMalformed
		}
		names = append(names, string(val))
		return nil
	}); err != nil || len(names) == 0 {
		return nil, wire.ErrMalformed
	}
	defer func() {
		if err != nil {
			c.endServing(more)
			more = nil
		}
	}()
	e := c.env
	c.mu.Lock()
	serves := slices.Clone(c.serves)
	c.mu.Unlock()
	for _, name := range names {
		md := e.self.methods[name]
		goesOn := func(s *serving) bool { return s.method == md && !s.ended.Load() }
		if slices.ContainsFunc(serves, goesOn) || slices.ContainsFunc(more, goesOn) {
			continue
		}
		s, err := c.offer(md, name)
		if err != nil {
			return more, err
		}
		more = append(more, s)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return more, wire.ErrUnavailable
	}
	c.serves = append(slices.DeleteFunc(c.serves, func(s *serving) bool { return s.ended.Load() }), more...)
	return more, nil
}

// offer decides whether c may answer md, the method with that name, which is nil
// if there is none.
func (c *conn) offer(md *method, name string) (*serving, error) {
	e := c.env
	v := Verdict{Allowed: md != nil, Rule: "services." + e.id.Service + ".provides"}
	if md == nil {
		return nil, c.recordServe(name, v, guard.Endpoint{})
	}
	to := e.endpointOf(md)
	s := &serving{method: md}
	s.lasting = lasting{
		name:  "method " + name,
		holds: func(now guard.State) error { return e.standsIn(now, to) },
		cut:   func() { s.end(c) },
	}
	refusal := e.flow.lasts(&s.lasting)
	if refusal != nil {
		v = Verdict{Rule: v.Rule + ": " + refusal.Error()}
	}
	if err := c.recordServe(name, v, to); err != nil {
		e.flow.release(&s.lasting)
		if refusal != nil {
			err = refusal
		}
		return nil, err
	}
	return s, nil
}

// recordServe is the end of that decision. Each takes of the ration: none needs a grant.
func (c *conn) recordServe(name string, v Verdict, to guard.Endpoint) error {
	e := c.env
	err := e.m.noteLabels(e, opServe, name, 0, v, "", labelsOf(e.at(), e.given(), to))
	time.Sleep(e.records.take(time.Now()))
	return err
}

// end takes c away from the method.
func (s *serving) end(c *conn) {
	s.ended.Store(true)
	s.method.remove(c)
}

// endServing gives up methods that c has answered, or was to.
func (c *conn) endServing(all []*serving) {
	for _, s := range all {
		c.env.flow.release(&s.lasting)
	}
}
