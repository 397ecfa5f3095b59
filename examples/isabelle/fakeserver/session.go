package fakeserver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cofferdam/examples/isabelle/protocol"
)

// session is a prover and the theories that it has.
type session struct {
	server   *Server
	id       string
	name     string
	tmp      string
	prover   *prover
	settings settings
	sessions sessions // that it knows of
	batch    bool     // it builds, and nobody looks at it
	now      func() time.Time

	mu      sync.Mutex
	image   map[string]bool // names of theories that it began with
	nodes   map[string]*node
	used    map[*node]int // how many tasks check a theory
	changed chan struct{} // closed when something of a theory changes
}

// built is what came of the theories of a session that another one is built on.
type built struct {
	name    string
	ok      bool
	elapsed time.Duration
	errors  []string
}

// note tells something while a task runs.
type note func(kind, text string, more ...protocol.Field)

// newSession starts a session: it checks what was asked for, starts the prover, and
// has it evaluate what the session consists of, as the image would contain it.
func (s *Server) newSession(ctx context.Context, id string, a protocol.Session, batch bool, tell note) (*session, []built, error) {
	n := &session{
		server: s, id: id, name: a.Session, batch: batch, now: time.Now, settings: make(settings),
		image: make(map[string]bool), nodes: make(map[string]*node), used: make(map[*node]int), changed: make(chan struct{}),
	}
	if a.Preferences != nil {
		if err := n.settings.prefer(*a.Preferences); err != nil {
			return nil, nil, err
		}
	} else if text, err := os.ReadFile(filepath.Join(s.o.UserHome, "etc", "preferences")); err == nil {
		if err := n.settings.prefer(string(text)); err != nil {
			return nil, nil, err
		}
	}
	for _, o := range a.Options {
		if err := n.settings.set(o); err != nil {
			return nil, nil, err
		}
	}
	var dirs []string
	for _, d := range a.Dirs {
		p, err := s.expand(d)
		if err != nil {
			return nil, nil, err
		}
		dirs = append(dirs, p.file(s.o.Dir))
	}
	var err error
	if n.sessions, err = readSessions(dirs); err != nil {
		return nil, nil, err
	}
	for _, name := range a.Include {
		if _, err := n.sessions.chain(name); err != nil {
			return nil, nil, err
		}
	}
	chain, err := n.sessions.chain(a.Session)
	if err != nil {
		return nil, nil, err
	}
	for n.tmp == "" {
		tmp := filepath.Join(s.o.Temporary, fmt.Sprintf("server_session%d", rand.Int64()))
		if err := os.MkdirAll(s.o.Temporary, 0o700); err != nil {
			return nil, nil, err
		}
		if err := os.Mkdir(tmp, 0o700); err == nil {
			n.tmp = tmp
		} else if !os.IsExist(err) {
			return nil, nil, err
		}
	}
	work, err := os.MkdirTemp("", "isabelle-process")
	if err != nil {
		n.close()
		return nil, nil, err
	}
	if n.prover, err = startProver(s.o.Poly, work, s.o.Environment); err != nil {
		os.RemoveAll(work)
		n.close()
		return nil, nil, err
	}
	go func() {
		<-n.prover.dead
		os.RemoveAll(work)
	}()
	var list []built
	if err = n.prover.ready(ctx); err == nil {
		list, err = n.build(ctx, chain, tell)
	}
	if err != nil {
		n.close()
		return nil, list, err
	}
	return n, list, nil
}

// build checks the theories of all sessions of a chain that come from directories.
func (s *session) build(ctx context.Context, chain []sessionInfo, tell note) ([]built, error) {
	var list []built
	for _, info := range chain {
		b := built{name: info.name, ok: true}
		for _, t := range info.theories {
			if info.dir == "" {
				s.image[t] = true
			}
		}
		if info.dir != "" {
			heap := filepath.Join(s.server.o.UserHome, "heaps", info.name)
			fresh := !exists(heap)
			if fresh {
				tell("writeln", "Building "+info.name+" ...")
			}
			start := s.now()
			if err := s.theories(ctx, info, &b); err != nil {
				return list, err
			}
			b.elapsed = s.now().Sub(start)
			switch {
			case !b.ok:
				tell("error", info.name+" FAILED")
				for _, e := range b.errors {
					tell("error", e)
				}
			case fresh:
				if err := os.MkdirAll(filepath.Dir(heap), 0o700); err != nil {
					return list, err
				}
				if err := os.WriteFile(heap, []byte(strings.Join(info.theories, "\n")), 0o600); err != nil {
					return list, err
				}
				tell("writeln", fmt.Sprintf("Finished %s (0:%02d:%02d elapsed time)", info.name, int(b.elapsed.Minutes()), int(b.elapsed.Seconds())%60))
			}
		}
		if list = append(list, b); !b.ok {
			break
		}
	}
	return list, nil
}

// theories checks those of a session and makes them part of the image.
func (s *session) theories(ctx context.Context, info sessionInfo, b *built) error {
	var names []string
	for _, t := range info.theories {
		if dir, base := filepath.Split(t); !strings.Contains(base, ".") {
			t = dir + base
		}
		names = append(names, t)
	}
	dir, err := explode(info.dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	l := &loader{s: s}
	for _, name := range names {
		l.one(name, dir, info.name, "")
	}
	s.mu.Unlock()
	if len(l.errors) > 0 {
		b.ok, b.errors = false, l.errors
		return nil
	}
	for _, n := range l.order {
		if err := s.check(ctx, n); err != nil {
			return err
		}
		s.mu.Lock()
		for _, m := range n.messages {
			if m.kind == "error" {
				b.ok, b.errors = false, append(b.errors, m.text)
			}
		}
		s.image[n.name] = true
		s.mu.Unlock()
	}
	return nil
}

// close ends the session and returns the code of its prover.
func (s *session) close() int {
	code := 0
	if s.prover != nil {
		code = s.prover.stop()
	}
	os.RemoveAll(s.tmp)
	return code
}

// result is what session_build tells of what was built.
func result(list []built) (ok bool, sessions []protocol.Object) {
	ok, sessions = true, []protocol.Object{}
	for _, b := range list {
		ok = ok && b.ok
		seconds := b.elapsed.Seconds()
		sessions = append(sessions, protocol.Object{
			{Name: "session", Value: b.name}, {Name: "ok", Value: b.ok}, {Name: "return_code", Value: code(b.ok)}, {Name: "timeout", Value: false},
			{Name: "timing", Value: protocol.Object{{Name: "elapsed", Value: seconds}, {Name: "cpu", Value: seconds}, {Name: "gc", Value: 0}}},
		})
	}
	return ok, sessions
}

func code(ok bool) int {
	if ok {
		return 0
	}
	return 1
}
