package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cofferdam/wire"
)

// check is a question of the monitor's own to an instance: whether it is well.
type check struct {
	answered chan error // holds one
}

// monitorCaller is who asks it, which no service can be called.
var monitorCaller = (&wire.Identity{Service: "monitor"}).Append(nil)

var errLost = errors.New("the connection that was asked has ended")

// Check asks e, by a method of its service, whether it is well, and waits for the answer
// as long as ctx lasts. Of several connections that answer the method turn says which
// is asked. It is no decision: nothing that anybody has is in the question, and of
// the answer only whether it is an error is looked at, by who keeps e alive. So it is at no
// label, and asked of one that has risen above its service, too.
func (e *Env) Check(ctx context.Context, method string, turn int) error {
	md := e.self.methods[method]
	if md == nil {
		return fmt.Errorf("%s provides no %s", e.id.Service, method)
	}
	conns := e.answerers(md)
	if len(conns) == 0 {
		return errors.New("nothing of it answers " + method)
	}
	c := conns[turn%len(conns)]
	k := &check{answered: make(chan error, 1)}
	f := wire.Frame{
		Header:      wire.Header{Op: wire.OpCall, Call: md.calls.Add(1)},
		NameBytes:   md.nameBytes,
		CallerBytes: monitorCaller,
	}
	if at, ok := ctx.Deadline(); ok {
		f.Timeout = max(time.Until(at), time.Millisecond)
	}
	id, err := c.expect(k)
	if err != nil {
		return err
	}
	defer c.forget(k, id)
	f.ID = id
	if err := c.out.send(nil, &f); err != nil {
		return err
	}
	select {
	case err := <-k.answered:
		return err
	case <-ctx.Done():
		c.withdraw(id)
		return errors.New("no answer to " + method)
	}
}

// answerers are the connections of e that answer a method, or did before its label
// changed, in one order.
func (e *Env) answerers(md *method) []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	type answerer struct {
		c     *conn
		since uint64
	}
	var all []answerer
	for c := range e.conns {
		c.mu.Lock()
		if slices.ContainsFunc(c.serves, func(s *serving) bool { return s.method == md }) {
			all = append(all, answerer{c, c.number})
		}
		c.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b answerer) int { return cmp.Compare(a.since, b.since) })
	conns := make([]*conn, len(all))
	for i, a := range all {
		conns[i] = a.c
	}
	return conns
}

// expect books k as something that env is to answer.
func (c *conn) expect(k *check) (id uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, errLost
	case len(c.answering) >= maxAnswering:
		return 0, fmt.Errorf("it has not answered %d calls", maxAnswering)
	}
	c.sent++
	c.answering[c.sent] = k
	return c.sent, nil
}

// answer implements [task].
func (k *check) answer(_ *reader, _ *Env, code wire.Code, _ []byte, _ []object) {
	if code == wire.OK {
		k.answered <- nil
		return
	}
	k.answered <- fmt.Errorf("it answered %q", code)
}

// interrupted implements [task].
func (k *check) interrupted(*Env) { k.answered <- errLost }
