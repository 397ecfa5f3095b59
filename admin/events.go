package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"cofferdam/audit"
)

// events answers with where the log ends, and then with each record that comes after
// and is wanted. A client that does not read them in time is told how many it has
// missed; nobody else waits for it.
func (s *Server) events(ctx context.Context, req Request, reply *replier) {
	s.watching.Add(1)
	defer s.watching.Done()
	w, head, err := s.Supervisor.Log.Watch(func(r audit.Record) bool { return req.Wants(r) })
	if err != nil {
		reply.send(Response{Error: "events: " + err.Error(), Code: 125})
		return
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // what was recorded until then is sent all the same
		select {
		case <-s.Stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	if reply.send(Response{Head: &head}) != nil {
		return
	}
	for {
		lines, lost, err := w.Next(ctx)
		if err != nil {
			return
		}
		for line := range bytes.Lines(lines) {
			if reply.send(Response{Event: json.RawMessage(line)}) != nil {
				return
			}
		}
		if lost > 0 && reply.send(Response{Lost: lost}) != nil {
			return
		}
	}
}

// Wants tells whether a record is an event that was asked for: one of those kinds and
// of that service, and what was permitted only if that was asked for, which would be most.
func (req *Request) Wants(r audit.Record) bool {
	return r.Checkpoint == nil && (req.Allowed || r.Verdict != audit.Allow) &&
		(req.Service == "" || r.Subject == req.Service) &&
		(len(req.Kinds) == 0 || slices.Contains(req.Kinds, r.Kind))
}

// Finish waits until those who watch events have been sent all of them, at most for d.
// Stopped must be closed.
func (s *Server) Finish(d time.Duration) {
	done := make(chan struct{})
	go func() {
		s.watching.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(d):
	}
}
