package fakeserver

import (
	"context"
	"fmt"
	"slices"

	"cofferdam/examples/isabelle/protocol"
)

// command does what one message says, and reports whether it was the last one of the server.
func (c *connection) command(text []byte) (over bool) {
	if len(text) == 0 {
		c.send(protocol.Hint())
		return false
	}
	m := protocol.Parse(text)
	c.server.log.print("command %q", m.Name)
	if !slices.Contains(protocol.Commands, m.Name) {
		c.send(protocol.BadCommand(m.Name))
		return false
	}
	v, err := m.Value(protocol.Bounds{Depth: 1000, Values: 1 << 30})
	if err != nil {
		c.send(protocol.Malformed(m))
		return false
	}
	a, ok := m.Arguments(v)
	if !ok {
		c.send(protocol.BadArgument(m))
		return false
	}
	switch a := a.(type) {
	case protocol.TaskID:
		c.cancel(a.ID)
		c.send(protocol.Message{Name: protocol.OK})
	case protocol.Session:
		c.session(m.Name, a)
	case protocol.SessionID:
		c.begin(func(context.Context, note) (protocol.Object, error) { return c.server.stop(a.ID) })
	case protocol.UseTheories:
		c.begin(func(ctx context.Context, tell note) (protocol.Object, error) {
			s, err := c.server.session(a.ID)
			if err != nil {
				return nil, err
			}
			return s.use(ctx, a, c, tell)
		})
	case protocol.PurgeTheories:
		c.send(c.purge(a))
	default:
		switch m.Name {
		case "help":
			c.send(protocol.Reply(protocol.OK, protocol.Commands))
		case "echo":
			c.send(protocol.Reply(protocol.OK, a))
		case "shutdown":
			c.server.shutdown(func() { c.send(protocol.Message{Name: protocol.OK}) })
			return true
		}
	}
	return false
}

// session begins session_build or session_start.
func (c *connection) session(name string, a protocol.Session) {
	c.begin(func(ctx context.Context, tell note) (protocol.Object, error) {
		start := name == "session_start"
		n, list, err := c.server.newSession(ctx, uuid(), a, !start, tell)
		if err != nil {
			return nil, err
		}
		ok, sessions := result(list)
		if !start || !ok {
			n.close()
			o := protocol.Object{{Name: "ok", Value: ok}, {Name: "return_code", Value: code(ok)}, {Name: "sessions", Value: sessions}}
			switch text := fmt.Sprintf("Session build failed: return code %d", code(ok)); {
			case start:
				return nil, failure{text, nil}
			case !ok:
				return nil, failure{text, o}
			}
			return o, nil
		}
		tell("writeln", "Starting session "+a.Session+" ...")
		n.batch = false
		if ctx.Err() != nil || !c.server.add(n) {
			n.close()
			return nil, errInterrupted
		}
		return protocol.Object{{Name: "session_id", Value: n.id}, {Name: "tmp_dir", Value: n.tmp}}, nil
	})
}

// stop ends a session.
func (s *Server) stop(id string) (protocol.Object, error) {
	n, err := s.remove(id)
	if err != nil {
		return nil, err
	}
	code := n.close()
	o := protocol.Object{{Name: "ok", Value: code == 0}, {Name: "return_code", Value: code}}
	if code != 0 {
		return nil, failure{fmt.Sprintf("Session shutdown failed: return code %d", code), o}
	}
	return o, nil
}

func (c *connection) purge(a protocol.PurgeTheories) protocol.Message {
	s, err := c.server.session(a.ID)
	if err != nil {
		return protocol.UserError(err.Error())
	}
	master, err := s.master(a.MasterDir)
	if err != nil {
		return protocol.UserError(err.Error())
	}
	purged, retained, err := s.purge(master, a.Theories, a.All)
	if err != nil {
		return protocol.UserError(err.Error())
	}
	return protocol.Reply(protocol.OK, protocol.Object{{Name: "purged", Value: purged}, {Name: "retained", Value: retained}})
}
