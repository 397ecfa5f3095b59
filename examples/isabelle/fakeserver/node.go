package fakeserver

import (
	"context"
	"time"

	"cofferdam/examples/isabelle/protocol"
)

// state of a command.
type state int

const (
	unprocessed state = iota
	running
	finished
	warned
	failed
)

// message is one that a command has given.
type message struct {
	kind string
	text string
	pos  protocol.Object
	of   int // which command
}

// export is a file that a theory has produced.
type export struct {
	name, body string
	of         int
}

// node is a theory of a session.
type node struct {
	name, path string
	src        *source
	imports    []*node
	commands   []command
	busy       chan struct{} // holds one value while somebody checks the theory

	// guarded by session.mu
	states       []state
	messages     []message
	exports      []export
	facts        map[string]string
	goal         *goal
	consolidated bool
	changed      time.Time
}

func newNode(name, path string, src *source, imports []*node, now time.Time) *node {
	n := &node{
		name: name, path: path, src: src, imports: imports, commands: split(tokens(src.text)),
		busy: make(chan struct{}, 1), facts: make(map[string]string), changed: now,
	}
	n.states = make([]state, len(n.commands))
	return n
}

// next is the first command that was not checked yet.
func (n *node) next() int {
	for i, s := range n.states {
		if s == unprocessed || s == running {
			return i
		}
	}
	return len(n.states)
}

// ok reports whether no command has failed.
func (n *node) ok() bool { return n.count(failed) == 0 }

func (n *node) count(s state) int {
	c := 0
	for _, t := range n.states {
		if s == t {
			c++
		}
	}
	return c
}

// percentage is 100 only when all is done.
func (n *node) percentage() int {
	if n.consolidated {
		return 100
	}
	return min(99, (len(n.states)-n.count(unprocessed)-n.count(running))*100/max(1, len(n.states)))
}

// status is that of the theory, as it is told.
func (n *node) status() protocol.Object {
	return protocol.Object{
		{Name: "ok", Value: n.ok()}, {Name: "total", Value: len(n.states)},
		{Name: "unprocessed", Value: n.count(unprocessed)}, {Name: "running", Value: n.count(running)},
		{Name: "warned", Value: n.count(warned)}, {Name: "failed", Value: n.count(failed)}, {Name: "finished", Value: n.count(finished)},
		{Name: "canceled", Value: false}, {Name: "consolidated", Value: n.consolidated}, {Name: "percentage", Value: n.percentage()},
	}
}

// object names the theory.
func (n *node) object() protocol.Object {
	return protocol.Object{{Name: "node_name", Value: n.path}, {Name: "theory_name", Value: n.name}}
}

// check checks what was not checked yet, and returns at the end or when ctx is
// over. Who else wants the same theory waits for it.
func (s *session) check(ctx context.Context, n *node) error {
	select {
	case n.busy <- struct{}{}:
		defer func() { <-n.busy }()
	case <-ctx.Done():
		return errInterrupted
	}
	for {
		s.mu.Lock()
		i := n.next()
		if i == len(n.states) {
			n.consolidated = true
			s.touch(n)
			s.mu.Unlock()
			return nil
		}
		n.states[i] = running
		s.touch(n)
		s.mu.Unlock()
		if ctx.Err() != nil {
			s.undo(n, i)
			return errInterrupted
		}
		switch err := (&checker{s, n, i}).check(ctx); err {
		case nil:
			s.mu.Lock()
			n.states[i] = finished
			for _, m := range n.messages {
				if m.of == i && m.kind == "error" {
					n.states[i] = failed
				} else if m.of == i && m.kind == "warning" && n.states[i] == finished {
					n.states[i] = warned
				}
			}
			s.touch(n)
			s.mu.Unlock()
		case errProverGone: // nothing will ever come of it, and nobody is told
			<-ctx.Done()
			s.undo(n, i)
			return errInterrupted
		default:
			s.undo(n, i)
			return err
		}
	}
}

// undo makes a command one that was not checked.
func (s *session) undo(n *node, i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.states[i] = unprocessed
	var kept []message
	for _, m := range n.messages {
		if m.of != i {
			kept = append(kept, m)
		}
	}
	n.messages = kept
	var exports []export
	for _, e := range n.exports {
		if e.of != i {
			exports = append(exports, e)
		}
	}
	n.exports = exports
	s.touch(n)
}

// touch notes that something of the theory has changed, and wakes who waits for
// that. The caller holds the lock.
func (s *session) touch(n *node) {
	n.changed = time.Now()
	close(s.changed)
	s.changed = make(chan struct{})
}
