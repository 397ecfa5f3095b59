// Package profile runs people's profiles, each view in a sandbox of its own,
// and answers what the running ones ask.
//
// Three meet here. dynamic asks for a run of owner and visitor; it sends no
// code, that comes from the store. The sandbox is started bound to both names,
// keeps its files in a volume of the owner's, and ends with the view. What the
// sandbox asks, it asks through the monitor, which tells us what it is bound
// to: no argument of a program says on whose behalf it runs.
//
// Runs for one owner happen one after the other, so that a profile need not
// lock its files; runs for different owners at the same time.
//
// Trusted: no by Cofferdam; yes by zoobar. It could bind a sandbox to anybody.
package profile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/gate"
	"cofferdam/examples/zoobar/user"
	"cofferdam/sdk"
)

const (
	template = "sandbox"         // in cofferdam.yaml
	codePath = "/run/profile.py" // where its bootstrap looks for the code

	// Wall is the longest run. The template's own limit is the same.
	Wall = 5 * time.Second
)

// Eight Pythons fit a small machine. Who waits, waits for at most three runs.
var running = gate.Limits{Places: 8, PlacesPerKey: 1, Queue: 64, QueuePerKey: 8, Patience: 3 * Wall}

// Peers are what the service calls and starts.
type Peers interface {
	CallJSON(ctx context.Context, call string, args, result any) error
	Spawn(ctx context.Context, template string, o sdk.SpawnOptions) (sdk.Exit, error)
}

// Profiles answers run to dynamic, and the questions of sandboxes. It is safe
// for concurrent use.
type Profiles struct {
	peers   Peers
	running *gate.Gate
}

// New returns the service.
func New(peers Peers) *Profiles {
	return &Profiles{peers: peers, running: gate.New(running)}
}

// Run runs the profile of owner for visitor and returns what it printed, as
// UTF-8 of at most [calls.MaxOutputBytes]. A program that fails or is stopped
// has printed what it has; why, goes to the log and not to the page.
func (p *Profiles) Run(ctx context.Context, owner, visitor string) ([]byte, error) {
	for _, name := range []string{owner, visitor} {
		if err := user.CheckName(name); err != nil {
			return nil, fmt.Errorf("run profile: %w", err)
		}
	}
	leave, err := p.running.Enter(ctx, owner)
	if err != nil {
		return nil, err
	}
	defer leave()

	code, err := p.code(ctx, owner)
	if err != nil {
		return nil, err
	}
	p.note(ctx, owner, visitor)
	exit, err := p.peers.Spawn(ctx, template, sdk.SpawnOptions{
		Files:     []sdk.File{{Path: codePath, Data: code}},
		Wall:      Wall,
		Principal: owner,
		Bound:     calls.Bound{Owner: owner, Visitor: visitor}.Bytes(),
	})
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	if exit.Code != 0 {
		slog.Info("profile ended early", "owner", owner, "cause", exit.Cause, "code", exit.Code,
			"limit", exit.Limit, "detail", exit.Detail, "stderr", lastLine(exit.Stderr))
	}
	return page(exit.Stdout), nil
}

// note counts the visit. What does not keep a profile from being shown is that it
// cannot be counted.
func (p *Profiles) note(ctx context.Context, owner, visitor string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := p.peers.CallJSON(ctx, calls.VisitsNote, calls.Visit{Owner: owner, Visitor: visitor}, nil); err != nil {
		slog.Warn("visit is not counted", "owner", owner, "visitor", visitor, "err", err)
	}
}

// code fetches the owner's program, with the line ends that Python expects:
// browsers send CRLF.
func (p *Profiles) code(ctx context.Context, owner string) ([]byte, error) {
	var text string
	if err := p.peers.CallJSON(ctx, calls.StoreGetProfile, calls.User{Username: owner}, &text); err != nil {
		return nil, fmt.Errorf("get profile: %w", err)
	}
	if !strings.HasPrefix(text, calls.Magic) {
		return nil, errors.New("the profile is not a program")
	}
	return []byte(strings.ReplaceAll(text, "\r\n", "\n")), nil
}

// page makes output fit to be part of a page: bounded, and UTF-8 throughout.
func page(output []byte) []byte {
	if len(output) > calls.MaxOutputBytes {
		output = output[:calls.MaxOutputBytes]
	}
	text := strings.ToValidUTF8(string(output), "\uFFFD")
	return []byte(text)
}

// lastLine is where a Python traceback says what went wrong.
func lastLine(stderr []byte) string {
	text := strings.TrimSpace(string(stderr))
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return text[:min(len(text), 200)]
}
