package fakeserver

import (
	"context"
	"errors"
	"net"
	"sync"

	"cofferdam/examples/isabelle/protocol"
)

// endless are the limits of the real server: none but those of integers.
var endless = protocol.Limits{Digits: 19, Line: 1 << 62, Block: 1<<63 - 1}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

// connection is one of a client, after its password.
type connection struct {
	server *Server
	conn   net.Conn

	writing sync.Mutex

	mu    sync.Mutex
	tasks map[string]*task
	wait  sync.WaitGroup
}

// task is a command that ends after its answer.
type task struct {
	id   string
	stop context.CancelFunc
}

// failure is an error of a task with fields of its own.
type failure struct {
	text string
	more protocol.Object
}

func (f failure) Error() string { return f.text }

// handle talks to one client until it leaves. Its tasks end with it.
func (s *Server) handle(conn net.Conn) {
	defer conn.Close()
	r := protocol.NewReader(conn, endless)
	password, err := r.Line()
	if err != nil || string(password) != s.Password {
		return
	}
	c := &connection{server: s, conn: conn, tasks: make(map[string]*task)}
	c.send(protocol.Version(isabelleID, isabelleName))
	for {
		m, err := r.Message()
		if err != nil {
			break
		}
		if c.command(m) {
			break
		}
	}
	conn.Close()
	c.mu.Lock()
	for _, t := range c.tasks {
		t.stop()
	}
	c.mu.Unlock()
	c.wait.Wait()
}

// send writes a message whole. To a client that has left nothing is written.
func (c *connection) send(m protocol.Message) {
	frame := m.Frame()
	c.writing.Lock()
	defer c.writing.Unlock()
	c.conn.Write(frame)
}

// begin starts a task and answers with its id, before anything else of it is heard.
func (c *connection) begin(run func(ctx context.Context, tell note) (protocol.Object, error)) {
	ctx, stop := context.WithCancel(context.Background())
	t := &task{uuid(), stop}
	c.mu.Lock()
	c.tasks[t.id] = t
	c.wait.Add(1)
	c.mu.Unlock()
	c.send(protocol.Started(t.id))
	tell := func(kind, text string, more ...protocol.Field) {
		if len(more) == 0 {
			more = []protocol.Field{{Name: "verbose", Value: "false"}}
		}
		c.server.log.print("%s %s", kind, text)
		c.send(protocol.TaskNote(t.id, kind, text, more...))
	}
	go func() {
		defer c.wait.Done()
		defer stop()
		result, err := run(ctx, tell)
		c.mu.Lock()
		delete(c.tasks, t.id)
		c.mu.Unlock()
		var f failure
		switch {
		case err == nil:
			c.send(protocol.FinishedTask(t.id, result...))
		case errors.As(err, &f):
			c.send(protocol.FailedTask(t.id, f.text, f.more...))
		default:
			c.send(protocol.FailedTask(t.id, err.Error()))
		}
	}()
}

// cancel interrupts a task of this connection, if there is one of that id.
func (c *connection) cancel(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.tasks[id]; ok {
		t.stop()
	}
}
