package fakeserver

import (
	"context"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"cofferdam/examples/isabelle/protocol"
)

// use checks theories until all are done, or until it has lasted too long.
func (s *session) use(ctx context.Context, a protocol.UseTheories, c *connection, tell note) (protocol.Object, error) {
	matches, err := matcher(a.Export)
	if err != nil {
		return nil, err
	}
	master, err := s.master(a.MasterDir)
	if err != nil {
		return nil, err
	}
	nodes, err := s.load(master, a.Theories)
	if err != nil {
		return nil, err
	}
	s.count(nodes, 1)
	defer s.count(nodes, -1)
	inner, stop := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for _, n := range nodes {
			if s.check(inner, n) != nil {
				return
			}
		}
	}()
	defer func() { stop(); <-over }()
	if err := s.wait(ctx, nodes, a, c, tell); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return results(nodes, a, matches), nil
}

// master is the directory from which a task's theories are seen.
func (s *session) master(dir *string) (path, error) {
	if dir == nil {
		return explode(s.tmp)
	}
	return s.server.expand(*dir)
}

func (s *session) count(nodes []*node, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range nodes {
		if s.used[n] += by; s.used[n] == 0 {
			delete(s.used, n)
		}
	}
}

// seconds is a time of the protocol; below one millisecond there is none.
func seconds(n float64) time.Duration {
	return max(time.Millisecond, time.Duration(min(n, 1e9)*float64(time.Second)))
}

// wait returns when all theories are done, or the limit of checks or the watchdog
// say that it is enough. It tells of progress.
func (s *session) wait(ctx context.Context, nodes []*node, a protocol.UseTheories, c *connection, tell note) error {
	checks := time.NewTicker(seconds(a.CheckDelay))
	defer checks.Stop()
	var statuses <-chan time.Time
	if a.StatusDelay >= 0 {
		t := time.NewTicker(seconds(a.StatusDelay))
		defer t.Stop()
		statuses = t.C
	}
	start, counted := s.now(), 0
	shown := make(map[*node]int)
	told := ""
	for {
		s.mu.Lock()
		changed := s.changed
		done, last := true, start
		type progress struct {
			n  *node
			at int
		}
		var news []progress
		for _, n := range nodes {
			done = done && n.consolidated
			if n.changed.After(last) {
				last = n.changed
			}
			at := n.percentage()
			if before, ok := shown[n]; !ok || before != at {
				shown[n] = at
				news = append(news, progress{n, at})
			}
		}
		status := protocol.Object{{Name: "kind", Value: "nodes_status"}, {Name: "nodes_status", Value: statusOf(nodes)}}
		s.mu.Unlock()
		for _, p := range news {
			if p.at > 0 {
				tell("writeln", fmt.Sprintf("theory %s %d%%", p.n.name, p.at), protocol.Field{Name: "theory", Value: p.n.name},
					protocol.Field{Name: "session", Value: ""}, protocol.Field{Name: "percentage", Value: p.at})
			}
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return errInterrupted
		case <-changed:
		case <-statuses:
			if text := string(protocol.Encode(nil, status)); text != told {
				told = text
				c.send(protocol.Reply(protocol.Note, status))
			}
		case <-checks.C:
			counted++
			switch {
			case a.CheckLimit > 0 && counted > a.CheckLimit:
				return nil
			case a.Watchdog > 0 && s.now().Sub(last) > seconds(a.Watchdog):
				return nil
			}
		}
	}
}

func statusOf(nodes []*node) []protocol.Object {
	list := []protocol.Object{}
	for _, n := range nodes {
		list = append(list, append(n.object(), protocol.Field{Name: "status", Value: n.status()}))
	}
	return list
}

// results are what a task tells at its end.
func results(nodes []*node, a protocol.UseTheories, matches func(string) bool) protocol.Object {
	show := named
	if a.Symbols {
		show = drawn
	}
	ok := true
	errors, list := []protocol.Object{}, []protocol.Object{}
	for _, n := range nodes {
		ok = ok && n.ok()
		messages, exports := []protocol.Object{}, []protocol.Object{}
		for _, m := range n.messages {
			o := protocol.Object{{Name: "kind", Value: m.kind}, {Name: "message", Value: show(strings.ToValidUTF8(m.text, "\ufffd"))}, {Name: "pos", Value: m.pos}}
			if messages = append(messages, o); m.kind == "error" {
				errors = append(errors, o)
			}
		}
		for _, e := range n.exports {
			if !matches(n.name + ":" + e.name) {
				continue
			}
			body, encoded := e.body, !utf8.ValidString(e.body)
			if encoded {
				body = base64.StdEncoding.EncodeToString([]byte(e.body))
			}
			exports = append(exports, protocol.Object{{Name: "name", Value: n.name + ":" + e.name}, {Name: "base64", Value: encoded}, {Name: "body", Value: body}})
		}
		list = append(list, append(n.object(), protocol.Object{
			{Name: "status", Value: n.status()}, {Name: "messages", Value: messages}, {Name: "exports", Value: exports}}...))
	}
	return protocol.Object{{Name: "ok", Value: ok}, {Name: "errors", Value: errors}, {Name: "nodes", Value: list}}
}

// matcher reads a pattern of names of exports, THEORY:PATH. Neither * nor ? goes past a slash
// or the colon, ** does. The empty one matches nothing.
func matcher(pattern string) (func(string) bool, error) {
	if pattern == "" {
		return func(string) bool { return false }, nil
	}
	var re strings.Builder
	re.WriteString(`\A(?s:`)
	for at := 0; at < len(pattern); at++ {
		switch c := pattern[at]; {
		case strings.HasPrefix(pattern[at:], "**"):
			re.WriteString(".*")
			at++
		case c == '*':
			re.WriteString("[^:/]*")
		case c == '?':
			re.WriteString("[^:/]")
		default:
			re.WriteString(regexp.QuoteMeta(pattern[at : at+1]))
		}
	}
	re.WriteString(`)\z`)
	compiled, err := regexp.Compile(re.String())
	if err != nil {
		return nil, fmt.Errorf("Bad export pattern %q", pattern)
	}
	return compiled.MatchString, nil
}
