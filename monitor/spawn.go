package monitor

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// Spawner starts instances of templates. The monitor has decided that it may.
type Spawner interface {
	// Spawn runs one instance of a template to its end, at the labels of flow. It
	// calls admit with what [Monitor.AdmitAt] has made of it, before its program
	// runs. The error is wire.ErrBusy if too many wait for theirs already; so it is
	// with Line. If it is that of ctx, the instance was made to end, and what is known
	// of that is returned too.
	Spawn(ctx context.Context, by wire.Identity, template string, req wire.Spawn, flow Flow, admit func(*Env)) (wire.Exit, error)

	// Instance returns once the instance of a service with that key serves, which it
	// starts if need be with the flow and the principal of the key. It does not end
	// before release was called, unless by itself.
	Instance(ctx context.Context, service string, key Key) (release func(), err error)

	// End lets the instance of a service with that key end, if there is one, with the grace that
	// its service has. It does not wait for that.
	End(service string, key Key)

	// Line runs one instance of a service that is a program per call, with the
	// request on its standard input, at the labels of flow, and returns its standard
	// output. It calls admit with what [Monitor.AdmitAt] has made of it, before its
	// program runs, and Remove after all.
	Line(ctx context.Context, service, method string, caller wire.Identity, body []byte, flow Flow, admit func(*Env)) ([]byte, error)

	// Unresponsive is told of an instance that does not answer what it was sent within
	// the deadlines that its service declares, and why that is thought.
	Unresponsive(id wire.Identity, why string)
}

// spawning is a request for a child that is answered with its result.
type spawning struct {
	lasting
	conn   *conn
	id     uint64
	result *result
}

// spawn decides on a spawn. The answer is the result, or if a label is given for
// that, a handle of it, at once: whether the child could be started is part
// of the result.
func (c *conn) spawn(f *wire.Frame) bool {
	e := c.env
	num := e.m.calls.Add(1)
	template := strings.ToValidUTF8(string(f.NameBytes), "�")
	has := e.rights.Load()
	v := has.grants.decide(opSpawn, template, len(e.id.Bound) > 0)
	if !v.Allowed {
		e.m.conclude(e, opSpawn, template, num, v)
		return c.reply(f.ID, wire.Denied, nil)
	}
	if err := e.within(opSpawn, template, v.toll, 0); err != nil {
		return c.refuse(f.ID, err)
	}
	req, err := wire.ParseSpawn(bytes.Clone(f.Body))
	if err != nil {
		if e.m.conclude(e, opSpawn, template, num, v) != nil {
			return c.reply(f.ID, wire.Denied, nil)
		}
		return c.reply(f.ID, wire.Malformed, errorText(err))
	}
	r, err := e.childOf(has.policy.services[template], &req)
	r.use = use{opSpawn, template, has}
	if err != nil {
		v = Verdict{Rule: v.Rule + ": " + err.Error()}
	}
	if logErr := e.m.noteFor(e, e.whom(req.Principal), opSpawn, template, num, v, r.detail(), r.labels(&req)); logErr != nil {
		time.Sleep(e.records.take(time.Now()))
		if err == nil {
			err = logErr
		}
	}
	if err != nil {
		r.takeBack()
		code, body := answerOf(nil, err)
		return c.reply(f.ID, code, body)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if f.Timeout > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), f.Timeout)
	}
	r.stop = cancel
	if req.Result != nil {
		return c.spawnApart(ctx, f.ID, r, template, req)
	}
	if !r.charge() {
		r.discard()
		return c.reply(f.ID, wire.Busy, nil)
	}
	s := &spawning{conn: c, id: f.ID, result: r}
	if code := c.ask(f.ID, s); code != wire.OK {
		r.discard()
		return code != wire.Malformed && c.reply(f.ID, code, nil)
	}
	if code, body := s.begin(template); code != wire.OK {
		r.discard()
		c.settle(f.ID, s, code, body)
		return true
	}
	if e.rights.Load() != has {
		e.cutUngranted()
	}
	go r.run(ctx, template, req)
	return true
}

// spawnApart starts a child that nobody waits for, and answers with a handle of its
// result.
func (c *conn) spawnApart(ctx context.Context, id uint64, r *result, template string, req wire.Spawn) bool {
	e := c.env
	if !e.startChild(r) {
		r.discard()
		return c.reply(id, wire.Busy, nil)
	}
	h, err := e.holdObject(r)
	code, body := answerOf(&wire.Told{Label: r.label, Handles: []uint64{h}}, err)
	if err != nil {
		e.endChild(r)
		r.discard()
		return c.reply(id, code, body)
	}
	go r.run(ctx, template, req)
	return c.reply(id, code, body)
}

// begin books the request as something that lasts: to withdraw it is to end the
// child, and the answer is of the label of the result.
func (s *spawning) begin(template string) (wire.Code, []byte) {
	e, r := s.conn.env, s.result
	s.lasting = lasting{
		name: "the instance of " + template + " that you wait for",
		with: r.with,
		holds: func(at guard.State) error {
			if err := at.Kill(r.with, r.start.Label); err != nil {
				return err
			}
			return at.Read(label.Privileges{}, r.label)
		},
		cut: func() {
			r.leave()
			s.conn.settle(s.id, s, wire.Canceled, nil)
		},
	}
	if err := e.flow.lasts(&s.lasting); err != nil {
		return answerOf(nil, err)
	}
	r.told = s.answer
	if !e.startChild(r) {
		e.flow.release(&s.lasting)
		return wire.Busy, nil
	}
	return wire.OK, nil
}

// answer gives the result to who waits for it. If it is withheld the child may go
// on, for a time that says nothing of it, and counts until then.
func (s *spawning) answer(code wire.Code, body []byte) {
	s.conn.env.flow.release(&s.lasting)
	s.conn.settle(s.id, s, code, body)
	if code == wire.Withheld {
		time.AfterFunc(s.conn.env.m.unseen, s.result.leave)
		return
	}
	s.result.leave()
}

// cancel ends the child: who has asked for it does not want to hear of it any more.
func (s *spawning) cancel() {
	s.conn.env.flow.release(&s.lasting)
	s.result.leave()
}

// childOf decides what labels a child of e is to have, and its result. It takes
// nothing but what e is and asks for, and what the manifest says of the
// template, so that e may be told all of a refusal.
func (e *Env) childOf(template *service, req *wire.Spawn) (*result, error) {
	r := &result{by: e, with: label.Privileges{Out: req.Out, In: req.In}}
	r.tie.by = &e.flow
	t, err := template.of(req.Principal)
	if err != nil {
		return r, refused("%v", err)
	}
	s := e.at()
	r.start, r.label, r.output = t.Flow, s.Label, maxOutput
	if t.Output > 0 {
		r.output = min(t.Output, maxOutput)
	}
	if r.given, err = e.objects(req.Handles); err != nil {
		return r, err
	}
	for _, o := range r.given {
		r.weight += o.size() + handleBytes
	}
	if req.Label != nil {
		r.start.Label = *req.Label
	} else if r.start.Label, err = s.Label.Join(t.Flow.Label); err != nil {
		return r, fmt.Errorf("label ⊔ template: %w", err)
	}
	switch {
	case req.Clearance != nil:
		r.start.Clearance = *req.Clearance
	case !r.start.Label.FlowsTo(t.Flow.Clearance):
		r.start.Clearance = r.start.Label
	}
	if req.Result != nil {
		r.label = *req.Result
	}
	if err := e.mayName(r.with); err != nil {
		return r, err
	}
	if err := s.Spawn(r.with, r.start.State, r.label); err != nil {
		return r, err
	}
	if req.Result == nil && !r.start.Label.FlowsTo(s.Label) {
		return r, refused("an instance at %s could not tell you at %s how it ended; give a label for the result, which you then have a handle of", r.start.Label, s.Label)
	}
	for _, v := range t.Volumes {
		if err := r.start.Mount(v.Label, false); err != nil {
			return r, err
		}
	}
	for _, q := range req.Gives {
		p, err := e.newPrivilege(q, r.with, r.start.Label)
		if p != nil {
			p.tie.count++ // the spawn is what holds it, until its end
			r.gives = append(r.gives, p)
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// of is the service as it is for a principal.
func (s *service) of(principal string) (Service, error) {
	if s.For == nil {
		return s.Service, nil
	}
	now := s.m.policy.Load().service(s.Name)
	if now == nil || now.For == nil {
		return s.Service, refused("%s is not there any more", s.Name)
	}
	return now.For(principal)
}

// discard is for one that does not come to be.
func (r *result) discard() {
	r.stop()
	r.takeBack()
	r.discharge()
}

// charge counts what is kept for the child against its spawner, if that does not
// have a handle of the result.
func (r *result) charge() bool {
	r.charged = r.by.flow.kept.take(r.weight)
	return r.charged
}

func (r *result) discharge() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.charged {
		r.by.flow.kept.give(r.weight)
	}
	r.charged = false
}

func (r *result) takeBack() {
	for _, p := range r.gives {
		r.by.takeBack(p)
	}
}

// labels is what a record says of a spawn, nil if all of it is public and no
// privilege had a part.
func (r *result) labels(req *wire.Spawn) *audit.Labels {
	if r.by.at() == (guard.State{}) && r.start == (Flow{}) && r.label == label.Public && r.with == (label.Privileges{}) && len(req.Gives) == 0 {
		return nil
	}
	return r.by.labels(&wire.Ask{Out: req.Out, In: req.In}, r.start.Label)
}

// detail is what else the record says of it.
func (r *result) detail() string {
	if r.start == (Flow{}) && r.label == label.Public && len(r.gives) == 0 {
		return ""
	}
	text := fmt.Sprintf("clearance %s, result %s", r.start.Clearance, r.label)
	for _, p := range r.gives {
		text += ", given " + p.what.String()
	}
	return text
}

// errorText is what a peer gets to read of an error, which may quote what it
// sent: cut, because an answer must fit a frame.
func errorText(err error) []byte {
	text := err.Error()
	if e, ok := err.(wire.Error); ok && e.Code == wire.Malformed {
		text = e.Message // the code goes with it
	}
	if len(text) > maxErrorBytes {
		text = strings.ToValidUTF8(text[:maxErrorBytes], "") + "…"
	}
	return []byte(text)
}

// startChild counts a child against MaxSpawns.
func (e *Env) startChild(r *result) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.spawns >= MaxSpawns {
		return false
	}
	e.spawns++
	e.children[r] = struct{}{}
	return true
}

// endChild may be called more than once.
func (e *Env) endChild(r *result) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, counted := e.children[r]; counted {
		delete(e.children, r)
		e.spawns--
	}
}

// leaveChildren ends those of e, which has ended.
func (e *Env) leaveChildren() {
	e.mu.Lock()
	all := make([]*result, 0, len(e.children))
	for r := range e.children {
		all = append(all, r)
	}
	e.mu.Unlock()
	for _, r := range all {
		r.leave()
	}
}

// startSpawn counts an instance against MaxSpawns.
func (e *Env) startSpawn() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.spawns >= MaxSpawns {
		return false
	}
	e.spawns++
	return true
}

func (e *Env) endSpawn() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spawns--
}
