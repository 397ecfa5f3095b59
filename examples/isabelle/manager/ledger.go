package manager

import (
	"errors"
	"fmt"
	"time"

	"cofferdam/examples/isabelle/protocol"
)

// ledger is what one connection to an instance may say next. It is told what was
// sent, and reads what comes: what does not fit, no server would send.
//
// Every command is answered once, in order. What starts a task has an end later,
// in any order. Between them there are notes.
type ledger struct {
	pending []*sent          // not answered yet, in the order in which they were sent
	running map[string]*sent // by the instance's name of the task
	ended   []string         // the last names of tasks that ended: a note may be late
	issued  func(session string) bool
}

// maxEnded is how many of those there are.
const maxEnded = 32

// sent is a command that was sent.
type sent struct {
	plan
	task  string // our name of its task, "" for what has none
	there string // the instance's name of it, once it has told

	answered func(protocol.Message) // the end of it: OK or ERROR, or FINISHED or FAILED with our name of the task
	noted    func(protocol.Message) // its notes; nil where all go

	canceled bool        // it is to end when it has begun
	overdue  *time.Timer // until it is answered
}

// fault is why an instance is not one to go on with.
type fault struct{ kind, why string }

func (f *fault) Error() string { return f.why }

// lie is a fault of one that says what no server would.
func lie(format string, args ...any) error { return &fault{"hostile", fmt.Sprintf(format, args...)} }

// hung is a fault of one that does not go on.
func hung(format string, args ...any) error { return &fault{"hung", fmt.Sprintf(format, args...)} }

func newLedger(issued func(session string) bool) *ledger {
	return &ledger{running: make(map[string]*sent), issued: issued}
}

func (l *ledger) sent(s *sent) { l.pending = append(l.pending, s) }

// open says how many commands have not come to their end.
func (l *ledger) open() []*sent {
	open := append([]*sent(nil), l.pending...)
	for _, s := range l.running {
		open = append(open, s)
	}
	return open
}

// said is what came of a reply: what is to be done, after which the ledger is right again.
type said struct {
	to    *sent            // whom it concerns; nil for a note of no task
	begun bool             // its task has begun, and there is nothing to tell
	note  bool             // it is a note
	reply protocol.Message // with our name of the task, and the paths of the inside
	value any
}

var errLate = errors.New("a note of a task that has ended")

// read takes one reply. Its error is a *fault, after which nothing has changed, or errLate
// for one to be dropped.
func (l *ledger) read(m protocol.Message, bounds protocol.Bounds) (said, error) {
	v, err := m.Value(bounds)
	if err != nil {
		return said{}, lie("an argument of %.20q that is malformed: %v", m.Name, err)
	}
	switch m.Name {
	case protocol.OK, protocol.Error:
		if len(l.pending) == 0 {
			return said{}, lie("%s without a command", m.Name)
		}
		answer := l.done
		if m.Name == protocol.Error {
			answer = l.refused
		}
		what, err := answer(l.pending[0], v)
		if err == nil {
			l.pending = l.pending[1:]
		}
		return what, err
	case protocol.Finished, protocol.Failed:
		return l.end(m.Name, v)
	case protocol.Note:
		return l.note(v)
	}
	return said{}, lie("a reply that is called %.20q", m.Name)
}

// refused is ERROR. Of a command with a task that ends the task.
func (l *ledger) refused(s *sent, v any) (said, error) {
	message, ok := v.(string)
	o, isObject := v.(protocol.Object)
	if isObject {
		message, ok = textOf(o, "message")
	}
	if !ok {
		return said{}, lie("ERROR that says nothing")
	}
	if s.task != "" {
		v = protocol.Object{{Name: "kind", Value: "error"}, {Name: "message", Value: message}, {Name: "task", Value: s.task}}
		return said{to: s, reply: protocol.Message{Name: protocol.Failed}, value: v}, nil
	}
	return said{to: s, reply: protocol.Message{Name: protocol.Error}, value: v}, nil
}

// done is OK.
func (l *ledger) done(s *sent, v any) (said, error) {
	if s.task == "" {
		if err := s.plan.fits(v); err != nil {
			return said{}, err
		}
		return said{to: s, reply: protocol.Message{Name: protocol.OK}, value: v}, nil
	}
	o, _ := v.(protocol.Object)
	id, ok := protocol.UUID(o.Text("task"))
	switch {
	case !ok:
		return said{}, lie("OK of %s without a task", s.name)
	case l.running[id] != nil || l.late(id):
		return said{}, lie("OK of %s with a task that there was already", s.name)
	}
	s.there = id
	l.running[id] = s
	return said{to: s, begun: true}, nil
}

// end is FINISHED or FAILED.
func (l *ledger) end(kind string, v any) (said, error) {
	o, ok := v.(protocol.Object)
	id, isID := protocol.UUID(o.Text("task"))
	s := l.running[id]
	if !ok || !isID || s == nil {
		return said{}, lie("%s of a task that does not run", kind)
	}
	if kind == protocol.Failed {
		if k := o.Text("kind"); k != "error" {
			return said{}, lie("FAILED of kind %.20q", k)
		}
		if _, ok := textOf(o, "message"); !ok {
			return said{}, lie("FAILED without a message")
		}
	} else if err := s.plan.fits(v); err != nil {
		return said{}, err
	} else if s.name == "session_start" && l.issued(o.Text("session_id")) {
		return said{}, lie("a session that there was already")
	}
	delete(l.running, id)
	if l.ended = append(l.ended, id); len(l.ended) > maxEnded {
		l.ended = l.ended[1:]
	}
	return said{to: s, reply: protocol.Message{Name: kind}, value: withTask(o, s.task)}, nil
}

// note is NOTE. One about the state of theories is of no task, and is there only
// while theories are used.
func (l *ledger) note(v any) (said, error) {
	o, ok := v.(protocol.Object)
	task, ofTask := o.Get("task")
	switch _, isText := v.(string); {
	case isText:
		return said{note: true, value: v}, nil
	case !ok:
		return said{}, lie("NOTE that is no message")
	case !ofTask:
		if o.Text("kind") != "nodes_status" {
			return said{}, lie("NOTE of no task")
		}
		for _, s := range l.running {
			if s.name == "use_theories" {
				return said{note: true, value: v}, nil
			}
		}
		return said{}, errLate
	}
	text, _ := task.(string)
	id, isID := protocol.UUID(text)
	s := l.running[id]
	switch {
	case isID && l.late(id):
		return said{}, errLate
	case !isID || s == nil:
		return said{}, lie("NOTE of a task that does not run")
	}
	return said{to: s, note: true, value: withTask(o, s.task)}, nil
}

func (l *ledger) late(id string) bool {
	for _, e := range l.ended {
		if e == id {
			return true
		}
	}
	return false
}

// withTask is o with another name of the task.
func withTask(o protocol.Object, task string) protocol.Object {
	o = append(protocol.Object(nil), o...)
	for i := range o {
		if o[i].Name == "task" {
			o[i].Value = task
		}
	}
	return o
}

func textOf(o protocol.Object, name string) (string, bool) {
	v, _ := o.Get(name)
	s, ok := v.(string)
	return s, ok
}
