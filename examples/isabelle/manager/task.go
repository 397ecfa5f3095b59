package manager

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"cofferdam/examples/isabelle/protocol"
)

// task is one of a client's, from OK to FINISHED or FAILED. It has a name of ours,
// because it is there before the instance hears of it: it may have to wait.
type task struct {
	id     string
	client *client
	of     *instance
	plan
	begun  time.Time
	ctx    context.Context // ends when it is to end
	cancel context.CancelFunc
	turn   *turn // nil for what need not wait for one

	once sync.Once
	over chan struct{} // closed when its end was told
}

// start books a task and says OK. It goes on beside the client.
func (c *client) start(i *instance, p plan) {
	t := &task{id: newUUID(), client: c, of: i, plan: p, begun: time.Now(), over: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(c.ctx)
	if err := c.house.begin(t); err != nil {
		t.cancel()
		c.say(protocol.UserError(err.Error()))
		return
	}
	c.log.Info("task", "event", "begun", "command", p.name, "task", t.id, "session", p.session, "about", fmt.Sprintf("%.200s", p.about))
	c.say(protocol.Started(t.id))
	if p.name == "use_theories" { // here, so that those of one client are in the order of its commands
		t.turn = c.house.turns.stand(p.session)
	}
	c.tasks.Go(func() {
		defer c.house.end(t)
		if t.turn != nil {
			defer c.house.turns.leave(t.turn)
		}
		defer t.cancel()
		t.run()
		t.fail(errLost.Error()) // unless something else was said
	})
}

// end tells the end of the task, once.
func (t *task) end(m protocol.Message) {
	t.once.Do(func() {
		var o protocol.Object
		if len(m.Argument) < largeBytes {
			v, _ := m.Value(protocol.Bounds{})
			o, _ = v.(protocol.Object)
		}
		ok, _ := o.Get("ok")
		t.client.log.Info("task", "event", "ended", "command", t.name, "task", t.id, "session", t.session, "kind", m.Name, "ok", ok,
			"message", o.Text("message"), "seconds", time.Since(t.begun).Seconds())
		t.client.say(m)
		close(t.over)
	})
}

func (t *task) fail(message string) { t.end(protocol.FailedTask(t.id, message)) }

// interrupt is what the server says of a task that was canceled.
const interrupt = "Interrupt"

// run goes on with the task until it is over.
func (t *task) run() {
	if t.name == "session_start" {
		done, ok := t.of.reserve()
		if !ok {
			t.fail(fmt.Sprintf("Too many sessions: %d at most, stop one", t.client.house.m.Limits.Sessions))
			return
		}
		defer done()
	}
	if t.session != "" {
		done, ok := t.of.use(t.session)
		if !ok {
			t.fail(protocol.NoSession(t.session))
			return
		}
		defer done()
	}
	if t.turn != nil && t.client.house.turns.wait(t.ctx, t.turn, t.waits) != nil {
		t.fail(interrupt)
		return
	}
	u, err := t.client.upstream(t.ctx, t.of)
	if err != nil {
		t.of.check()
		t.fail(errLost.Error())
		return
	}
	s := &sent{plan: t.plan, task: t.id, answered: t.end, noted: t.client.tell}
	if err := u.send(s); err != nil {
		t.of.check()
		t.fail(errLost.Error())
		return
	}
	t.await(u, s)
}

// waits tells the client where in the queue the task is.
func (t *task) waits(before int) {
	t.client.say(protocol.TaskNote(t.id, "writeln", fmt.Sprintf("Waiting for its turn: %d before this one", before)))
}

// await returns when the task is over. If it does not end though it should, the
// instance is not one that works.
func (t *task) await(u *upstream, s *sent) {
	limit := time.NewTimer(t.limit)
	defer limit.Stop()
	select {
	case <-t.over:
		return
	case <-t.ctx.Done():
	case <-limit.C:
		t.client.log.Warn("task", "event", "takes too long", "command", t.name, "task", t.id)
	}
	u.cancel(s)
	grace := time.NewTimer(t.client.house.m.Limits.Answer)
	defer grace.Stop()
	select {
	case <-t.over:
	case <-grace.C:
		t.of.end(hung("%s did not end when it was canceled", t.name))
		<-t.over
	}
}

// newUUID is a random one, of version 4.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
