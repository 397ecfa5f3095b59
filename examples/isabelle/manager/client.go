package manager

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"cofferdam/examples/isabelle/protocol"
)

// client is one connection of a tenant's client, after its password. It reads one
// command at a time, and answers it before it reads the next; the ends of tasks
// come in between.
type client struct {
	house *house
	conn  net.Conn
	in    *protocol.Reader
	log   *slog.Logger
	ctx   context.Context // ends with the connection
	leave context.CancelFunc
	tasks sync.WaitGroup

	writing sync.Mutex // taken last, and alone

	mu sync.Mutex
	up *upstream // nil until one is needed; of one instance
}

// serve talks to a client until one of both leaves. What runs by then is canceled,
// and waited for.
func (c *client) serve(version protocol.Message) {
	defer c.conn.Close()
	c.say(version)
	for c.next() {
	}
	c.leave()
	c.tasks.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up != nil {
		c.up.of.part(c.up)
	}
}

// next reads and answers one command, and tells whether there may be another.
func (c *client) next() bool {
	b, err := c.read()
	switch {
	case errors.Is(err, protocol.ErrTooLarge):
		c.say(protocol.UserError("Bad message: " + err.Error()))
		return false
	case err != nil:
		return false
	case sleep(c.ctx, c.house.pace.take(len(b))) != nil:
		return false
	case len(b) == 0:
		return c.say(protocol.Hint())
	}
	m := protocol.Parse(b)
	if !slices.Contains(commands, m.Name) {
		return c.say(protocol.BadCommand(m.Name))
	}
	argument, refused := understand(m)
	if refused.Name != "" {
		return c.say(refused)
	}
	return c.obey(m.Name, argument)
}

// read reads a message. It waits for ever while tasks run, and otherwise no longer
// than it may.
func (c *client) read() ([]byte, error) {
	for {
		c.conn.SetReadDeadline(time.Now().Add(c.house.m.Limits.Silence))
		err := c.in.Wait()
		var timeout net.Error
		if err == nil || !errors.As(err, &timeout) || !timeout.Timeout() || !c.house.hasTasks(c) {
			if err != nil {
				return nil, err
			}
			break
		}
	}
	c.conn.SetReadDeadline(time.Now().Add(c.house.m.Limits.Write))
	return c.in.Message()
}

// obey does what was asked for.
func (c *client) obey(name string, argument any) bool {
	switch a := argument.(type) {
	case protocol.TaskID:
		if t := c.house.task(a.ID); t != nil {
			c.log.Info("task", "event", "canceled", "task", a.ID)
			t.cancel()
		}
		return c.say(protocol.Reply(protocol.OK, protocol.Unit{}))
	case protocol.Unit:
		if name == "help" {
			return c.say(protocol.Reply(protocol.OK, commands))
		}
		if name == "shutdown" {
			c.house.shutdown(c.ctx)
			c.say(protocol.Reply(protocol.OK, protocol.Unit{}))
			return false
		}
	}
	i, err := c.house.instance(c.ctx)
	if err != nil {
		return c.say(protocol.UserError(err.Error()))
	}
	check := checker{limits: c.house.m.Limits, paths: i.paths, tmp: i.tmp}
	p, err := check.plan(name, argument)
	if err != nil {
		c.log.Info("refused", "command", name, "why", err.Error())
		return c.say(protocol.UserError(err.Error()))
	}
	if p.session != "" && !i.issued(p.session) {
		return c.say(protocol.UserError(protocol.NoSession(p.session))) // the server would begin a task to say so
	}
	if p.async {
		c.start(i, p)
		return c.ctx.Err() == nil
	}
	return c.ask(i, p)
}

// ask does a command that has no task. An instance that is lost over one that changes
// nothing is not noticed: the next one is asked.
func (c *client) ask(i *instance, p plan) bool {
	if p.session != "" {
		done, ok := i.use(p.session)
		if !ok {
			return c.say(protocol.UserError(protocol.NoSession(p.session)))
		}
		defer done()
	}
	answer, lost := c.answer(i, p), protocol.UserError(errLost.Error())
	for tries := 0; answer == lost && p.session == "" && tries < 3; tries++ {
		i, err := c.house.instance(c.ctx)
		if err != nil {
			return c.say(protocol.UserError(err.Error()))
		}
		answer = c.answer(i, p)
	}
	return c.say(answer)
}

// answer is what the instance answers to a command.
func (c *client) answer(i *instance, p plan) protocol.Message {
	lost := protocol.UserError(errLost.Error())
	u, err := c.upstream(c.ctx, i)
	if err != nil {
		i.check()
		return lost
	}
	answer := make(chan protocol.Message, 1)
	if err := u.send(&sent{plan: p, answered: func(m protocol.Message) { answer <- m }}); err != nil {
		i.check()
		return lost
	}
	return <-answer // it comes in time, or the instance ends
}

// upstream is this client's connection to the instance.
func (c *client) upstream(ctx context.Context, i *instance) (*upstream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up != nil && c.up.of == i && !c.up.isClosed() {
		return c.up, nil
	}
	if c.up != nil {
		c.up.of.part(c.up)
		c.up = nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.house.m.Limits.Start)
	defer cancel()
	u, err := i.connect(ctx, c.tell)
	if err != nil {
		return nil, err
	}
	c.up = u
	return u, nil
}

func (c *client) tell(m protocol.Message) { c.say(m) }

// say sends a message, and ends the connection if it is not taken in time.
func (c *client) say(m protocol.Message) bool {
	frame := m.Frame()
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.conn.SetWriteDeadline(time.Now().Add(c.house.m.Limits.Write))
	if _, err := c.conn.Write(frame); err != nil {
		c.leave()
		c.conn.Close()
		return false
	}
	return true
}
