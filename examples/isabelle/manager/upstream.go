package manager

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"cofferdam/examples/isabelle/protocol"
)

// upstream is one connection to an instance: that of one client, or the one that
// keeps the instance. What comes over it is believed as far as it fits to what
// was sent, and only to the tenant's own clients.
type upstream struct {
	of   *instance
	conn net.Conn
	in   *protocol.Reader
	note func(protocol.Message) // where notes go that are of no task
	big  bool                   // the tenant's place for a large message is taken
	done chan struct{}          // closed when nothing comes any more

	mu     sync.Mutex // held while something is written, so that the ledger has the same order
	book   *ledger
	closed bool
}

// largeBytes is from what size on a tenant's messages are dealt with one at a time.
const largeBytes = 256 << 10

// newUpstream takes a connection over.
func newUpstream(of *instance, conn net.Conn, note func(protocol.Message)) *upstream {
	u := &upstream{of: of, conn: conn, note: note, done: make(chan struct{})}
	limits := of.house.m.Limits
	u.in = protocol.NewReader(conn, protocol.Limits{Line: limits.Message, Block: limits.Block, Arriving: u.arriving})
	u.book = newLedger(of.issued)
	return u
}

// arriving is called before a message with a header is read, which has to come in
// time, and one by one if it is large.
func (u *upstream) arriving(bytes int) {
	if bytes > largeBytes && !u.big {
		u.of.house.large <- struct{}{}
		u.big = true
	}
	u.conn.SetReadDeadline(time.Now().Add(u.of.house.m.Limits.Answer))
}

// dealt is called when a message has been read and passed on.
func (u *upstream) dealt() {
	if u.big {
		<-u.of.house.large
		u.big = false
	}
	u.conn.SetReadDeadline(time.Time{})
}

// meet reads the first line: the name of the instance, which is another one for each.
func (u *upstream) meet() (name string, err error) {
	u.conn.SetDeadline(time.Now().Add(u.of.house.m.Limits.Start))
	line, err := u.in.Line()
	if err != nil {
		return "", err
	}
	name, ok := strings.CutPrefix(string(line), "instance ")
	if !ok {
		return "", lie("a first line that is none: %.100q", line)
	}
	return name, nil
}

// greet says where the tenant's directory for sessions is, and reads which version it
// is of that answers.
func (u *upstream) greet(sessions string) (version protocol.Message, err error) {
	defer u.dealt()
	u.conn.SetDeadline(time.Now().Add(u.of.house.m.Limits.Answer))
	if _, err := io.WriteString(u.conn, sessions+"\n"); err != nil {
		return version, err
	}
	b, err := u.in.Message()
	if err != nil {
		return version, err
	}
	m := protocol.Parse(b)
	v, err := m.Value(protocol.Bounds{})
	o, _ := v.(protocol.Object)
	version = protocol.Version(o.Text("isabelle_id"), o.Text("isabelle_name"))
	if err != nil || m.Name != protocol.OK || o.Text("isabelle_name") == "" || len(version.Bytes()) > 100 {
		return version, lie("a greeting that is none: %.200q", b)
	}
	u.conn.SetDeadline(time.Time{})
	return version, nil
}

// send sends a command. Its end is told to it in any case, unless send fails.
func (u *upstream) send(s *sent) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return errLost
	}
	return u.write(s)
}

// write sends and books a command. The caller holds mu.
func (u *upstream) write(s *sent) error {
	frame, err := protocol.Frame(nil, protocol.Message{Name: s.name, Argument: string(protocol.Encode(nil, s.argument))}.Bytes())
	if err != nil {
		return err
	}
	u.conn.SetWriteDeadline(time.Now().Add(u.of.house.m.Limits.Answer))
	if _, err := u.conn.Write(frame); err != nil {
		abort(u.conn) // half a frame is the end of it
		return err
	}
	s.overdue = time.AfterFunc(u.of.house.m.Limits.Answer, func() { u.of.end(hung("no answer to %s", s.name)) })
	u.book.sent(s)
	return nil
}

// cancel asks for the end of a task, as soon as it has begun. That is no promise.
func (u *upstream) cancel(s *sent) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s.canceled = true
	if s.there != "" && !u.closed {
		u.writeCancel(s)
	}
}

func (u *upstream) writeCancel(s *sent) {
	u.write(&sent{plan: plan{name: "cancel", argument: protocol.TaskID{ID: s.there}.Object()}, answered: func(protocol.Message) {}})
}

// run reads what comes until nothing does. The error is why.
func (u *upstream) run() error {
	defer close(u.done)
	for {
		err := u.next()
		u.dealt()
		if err != nil {
			return err
		}
	}
}

func (u *upstream) next() error {
	b, err := u.in.Message()
	if err != nil {
		switch {
		case errors.Is(err, protocol.ErrTooLarge):
			return lie("%v", err)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return hung("a message that did not come to its end")
		}
		return err
	}
	if u != u.of.keeper { // which has to be answered in time
		sleep(u.of.ended, u.of.house.pace.take(len(b)))
	}
	tell, err := u.take(b)
	if errors.Is(err, errLate) {
		return nil
	}
	if err == nil && tell != nil {
		tell()
	}
	return err
}

// take reads one message, and returns what is to be done about it without the lock.
func (u *upstream) take(b []byte) (tell func(), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, errLost
	}
	what, err := u.understand(b)
	reply := what.reply // the client may take it slowly: nothing else of a large one is kept for that
	switch s := what.to; {
	case err != nil:
		return nil, err
	case what.begun && s.canceled:
		u.writeCancel(s)
		return nil, nil
	case what.begun:
		return nil, nil
	case what.note && s != nil && s.noted != nil:
		return func() { s.noted(reply) }, nil
	case what.note:
		return func() { u.note(reply) }, nil
	default:
		return func() { s.answered(reply) }, nil
	}
}

// understand reads one message, and writes it as the client is to have it. Large ones of
// all tenants are dealt with a few at a time, so nothing here may wait. The caller holds mu.
func (u *upstream) understand(b []byte) (said, error) {
	if u.big {
		u.of.house.m.heavy <- struct{}{}
		defer func() { <-u.of.house.m.heavy }()
	}
	what, err := u.book.read(protocol.Parse(b), protocol.Bounds{Values: u.of.house.m.Limits.Values})
	if err != nil {
		return what, err
	}
	s := what.to
	if s != nil && !what.note {
		s.overdue.Stop()
		u.of.told(s, what.reply.Name, what.value) // while the paths are those of the inside
	}
	if s == nil || s.name != "echo" {
		what.value = u.of.paths.Outside(what.value)
	}
	if what.note {
		what.reply.Name = protocol.Note
	}
	what.reply.Argument = string(protocol.Encode(nil, what.value))
	return what, nil
}

func (u *upstream) isClosed() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.closed
}

// close ends the connection, and with an error all commands that have not come to
// their end.
func (u *upstream) close(why error) {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return
	}
	u.closed = true
	open := u.book.open()
	u.mu.Unlock()
	abort(u.conn)
	for _, s := range open {
		s.overdue.Stop()
		if s.task != "" {
			s.answered(protocol.FailedTask(s.task, why.Error()))
		} else {
			s.answered(protocol.UserError(why.Error()))
		}
	}
}

// abort resets a connection: the other side may be one that never reads or
// closes, and then only a reset is an end to whoever is in between.
func abort(c net.Conn) {
	if c, ok := c.(interface{ SetLinger(sec int) error }); ok {
		c.SetLinger(0)
	}
	c.Close()
}
