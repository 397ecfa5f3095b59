package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"cofferdam/wire"
)

func TestSpawnRoundTrip(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	req := wire.Spawn{
		Args:      []string{"-x", ""},
		Env:       []string{"A=b"},
		Files:     []wire.File{{Path: "/run/profile.py", Data: []byte("print(1)")}},
		Stdin:     []byte("in"),
		Wall:      3 * time.Second,
		Principal: "alice",
		Bound:     []byte{1, 2, 3},
	}
	exit := wire.Exit{Stdout: bytes.Repeat([]byte("o"), 300<<10), Stderr: []byte("e"), Cause: "wall", Code: 137, Limit: "wall 3s", Wall: 3 * time.Second, Memory: 5}
	id := p.ask(wire.OpSpawn, "sandbox", 0, req.Append(nil))
	r := l.spawner.next(t)
	if r.template != "sandbox" || r.by.Instance != "front-1" || r.by.Service != "front" || !reflect.DeepEqual(r.req, req) {
		t.Errorf("the spawner gets %q by %+v: %+v, want %+v", r.template, r.by, r.req, req)
	}
	r.end <- ending{exit: exit}
	f := p.next()
	got, err := wire.ParseExit(f.Body)
	if f.ID != id || f.Code != wire.OK || err != nil || !reflect.DeepEqual(got, exit) {
		t.Errorf("reply %d %v: %+v, %v", f.ID, f.Code, got, err)
	}
	l.booksAreEmpty()
}

func TestSpawnEnds(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	for name, tt := range map[string]struct {
		end  ending
		want wire.Code
	}{
		"not started":         {ending{err: errors.New("no memory")}, wire.Unavailable},
		"too many wait":       {ending{err: fmt.Errorf("start: %w", wire.ErrBusy)}, wire.Busy},
		"too much output":     {ending{exit: wire.Exit{Cause: "exit", Stdout: make([]byte, wire.MaxBody)}}, wire.TooLarge},
		"stopped by somebody": {ending{err: context.Canceled}, wire.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			id := p.ask(wire.OpSpawn, "sandbox", 0, nil)
			l.spawner.next(t).end <- tt.end
			p.want(id, tt.want, "")
		})
	}
	id := p.ask(wire.OpSpawn, "sandbox", 20*time.Millisecond, nil)
	<-l.spawner.next(t).ctx.Done()
	p.want(id, wire.Deadline, "")
	l.booksAreEmpty()
}

// What is wrong with a request is quoted, but not so much that the answer does
// not fit a frame.
func TestSpawnMalformed(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	for name, body := range map[string][]byte{
		"not fields":   []byte("x"),
		"unknown key":  wire.AppendField(nil, wire.KeyMethod, "x"),
		"a long value": wire.AppendField(nil, wire.KeyEnv, strings.Repeat("\x01", wire.MaxBody-16)),
	} {
		t.Run(name, func(t *testing.T) {
			id := p.ask(wire.OpSpawn, "sandbox", 0, body)
			if f := p.next(); f.ID != id || f.Code != wire.Malformed || len(f.Body) == 0 || len(f.Body) > maxErrorBytes+8 {
				t.Errorf("reply %d %v %.100q of %d bytes, want malformed", f.ID, f.Code, f.Body, len(f.Body))
			}
		})
	}
}

func TestMaxSpawns(t *testing.T) {
	l := newLab(t, bank())
	e := l.admit("front", "front-1")
	p := l.connect(e)
	var runs []*run
	for range MaxSpawns {
		p.ask(wire.OpSpawn, "sandbox", 0, nil)
		runs = append(runs, l.spawner.next(t))
	}
	p.want(p.ask(wire.OpSpawn, "sandbox", 0, nil), wire.Busy, "")
	p.want(p.call("script.run", ""), wire.Busy, "") // a program per call is a program
	runs[0].end <- ending{exit: wire.Exit{Cause: "exit"}}
	if f := p.next(); f.ID != 1 || f.Code != wire.OK {
		t.Errorf("reply %d %v, want 1 ok", f.ID, f.Code)
	}
	eventually(t, "there is room for one", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.spawns < MaxSpawns
	})
	p.ask(wire.OpSpawn, "sandbox", 0, nil)
	l.spawner.next(t)
	p.nc.Close()
	for i, r := range runs[1:] {
		select {
		case <-r.ctx.Done():
		case <-time.After(patience):
			t.Fatalf("run %d goes on without its caller", i+1)
		}
	}
	l.booksAreEmpty()
}

func TestSpawnWithdrawn(t *testing.T) {
	l := newLab(t, bank())
	e := l.admit("front", "front-1")
	p := l.connect(e)
	id := p.ask(wire.OpSpawn, "sandbox", 0, nil)
	r := l.spawner.next(t)
	p.send(wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}})
	<-r.ctx.Done()
	p.quiet()
	l.booksAreEmpty()
	p.ask(wire.OpSpawn, "sandbox", 0, nil)
	r = l.spawner.next(t)
	l.m.Remove(e)
	<-r.ctx.Done()
}

func TestLines(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	if !l.serving("script") {
		t.Error("a program per call is not serving")
	}
	for name, tt := range map[string]struct {
		end  ending
		code wire.Code
		body string
	}{
		"answer":     {ending{out: []byte("42")}, wire.OK, "42"},
		"failure":    {ending{err: errors.New("the program ended with exit, code 1")}, wire.Failed, "the program ended with exit, code 1"},
		"long words": {ending{err: errors.New(strings.Repeat("x", 2*wire.MaxBody))}, wire.Failed, strings.Repeat("x", maxErrorBytes) + "…"},
		"too late":   {ending{err: fmt.Errorf("run: %w", context.DeadlineExceeded)}, wire.Deadline, ""},
		"too much":   {ending{out: make([]byte, wire.MaxBody+1)}, wire.TooLarge, ""},
	} {
		t.Run(name, func(t *testing.T) {
			id := p.call("script.run", "6*7")
			r := l.spawner.next(t)
			if r.template != "script" || r.method != "run" || string(r.body) != "6*7" || r.by.Instance != "front-1" {
				t.Errorf("ran %s.%s of %q for %q", r.template, r.method, r.body, r.by.Instance)
			}
			r.end <- tt.end
			p.want(id, tt.code, tt.body)
		})
	}
	id := p.ask(wire.OpCall, "script.run", 20*time.Millisecond, nil)
	<-l.spawner.next(t).ctx.Done()
	p.want(id, wire.Deadline, "")
	id = p.call("script.run", "")
	r := l.spawner.next(t)
	p.send(wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}})
	<-r.ctx.Done()
	p.quiet()
	l.booksAreEmpty()
}
