package main

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"strings"

	"cofferdam/bench/own"
	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

// binary is what is measured.
var binary = "bin/cofferdam"

// ours is the measured binary, and this program as what plays inside.
func ours() (own.Program, error) {
	self, err := os.Executable()
	return own.Program{Binary: binary, Player: self}, err
}

// shape is how ours is to start environments.
type shape struct {
	blanks   int                  // that wait ahead: 0 for the usual number, -1 for none
	prepared int                  // that wait complete, up to the exec
	as       func(*executor.Spec) // what else there is to a spec; may be nil
}

// starting is ours, asked to start environments by who wants them, as the supervisor
// asks.
func starting(name, how string, s shape, p program, at pace) contestant {
	return contestant{name: name, how: how, open: func() (runner, error) {
		if err := found(p.args[0]); err != nil {
			return runner{}, err
		}
		x, err := namespace.New(namespace.Options{Executable: []string{binary, "spawner"}, App: "bench", Warm: s.blanks})
		if err != nil {
			return runner{}, err
		}
		spec := func() *executor.Spec {
			spec := own.Spec([]string{"cgroup"}, p.args...)
			if s.as != nil {
				s.as(spec)
			}
			return spec
		}
		if s.prepared > 0 {
			if err := x.Prepare(context.Background(), spec(), s.prepared); err != nil {
				x.Close()
				return runner{}, err
			}
		}
		return at.runner(func() error { return own.Start(x, spec(), p.want) }, func() { x.Close() }), nil
	}}
}

// forked has a program of Python be a fork of an interpreter that waits.
func forked(spec *executor.Spec) {
	spec.Fork = &executor.Fork{Interpreter: spec.Command.Args[:2], Env: spec.Command.Env, Spares: 8}
}

// up is ours as an application of that manifest, measured by what measure does.
func up(name, how, manifest string, measure func(a *own.App, count int) (own.Reading, error)) contestant {
	return contestant{name: name, how: how, open: func() (runner, error) {
		p, err := ours()
		if err != nil {
			return runner{}, err
		}
		a, err := p.Up(manifest, nil)
		if err != nil {
			return runner{}, err
		}
		return runner{close: a.Down, run: func(count int) (own.Reading, error) { return measure(a, count) }}, nil
	}}
}

// outside is a peer that this program plays by itself on the host.
func outside(name, how string, measure func(p own.Program, count int) (own.Reading, error)) contestant {
	return contestant{name: name, how: how, open: func() (runner, error) {
		p, err := ours()
		return runner{run: func(count int) (own.Reading, error) { return measure(p, count) }}, err
	}}
}

// snippets is ours as an application whose template runs a program.
func snippets(name, how, extra string, p program, at pace) contestant {
	command, err := json.Marshal(p.args)
	if err != nil {
		panic(err)
	}
	manifest := strings.NewReplacer("[COMMAND]", string(command), "LIMITS", p.limits).Replace(own.Snippets) + extra
	c := up(name, how, manifest, func(a *own.App, count int) (own.Reading, error) {
		return a.Spawn(at.workers, count, at.pause, p.want)
	})
	open := c.open
	c.open = func() (runner, error) {
		if err := found(p.args[0]); err != nil {
			return runner{}, err
		}
		return open()
	}
	return c
}

// ahead has an interpreter be executed before it is wanted, with all of its arguments.
func ahead(spec *executor.Spec) {
	spec.Ahead = &executor.Ahead{Interpreter: spec.Command.Args, Env: spec.Command.Env}
}

// site is ours as a gateway and a service behind it.
func site(conns int) contestant {
	return contestant{name: "cofferdam", how: "the gateway and a service behind it, with what is granted, recorded and limited by default", open: func() (runner, error) {
		p, err := ours()
		if err != nil {
			return runner{}, err
		}
		addr, err := freePort()
		if err != nil {
			return runner{}, err
		}
		a, err := p.Up(strings.Replace(own.Site, "ADDR", addr, 1), nil)
		if err != nil {
			return runner{}, err
		}
		return runner{close: a.Down, run: func(count int) (own.Reading, error) { return p.Load(addr, addr, conns, count) }}, nil
	}}
}

// play plays what package own does not: what only peers need.
func play(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "crun":
			return crunLoop(args[1:])
		case "splice-proxy":
			return spliceProxy(args[1:])
		case "veth":
			return vethPair(args[1:])
		case "veth-far":
			return vethFar()
		}
	}
	return own.Play(args)
}

func itoa(n int) string { return strconv.Itoa(n) }
