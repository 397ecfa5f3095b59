package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/monitor"
	"cofferdam/sdk"
	"cofferdam/wire"
)

// What follows is asked of the real monitor: of services alice, who owns what is
// hers, and bob, who owns nothing, of a gate, vault, and of a template, reader, that alice
// may spawn.
func policy() monitor.Policy {
	state := func(clearance string) guard.State { return guard.State{Clearance: label.MustParse(clearance)} }
	grant := func(from string, kind monitor.Kind, to string) monitor.Grant {
		return monitor.Grant{From: from, Kind: kind, To: to, Rule: "test"}
	}
	return monitor.Policy{
		Services: []monitor.Service{
			{Name: "alice", Flow: monitor.Flow{State: state("alice & bob %% True"), Owns: label.MustParseFormula("alice")}},
			{Name: "bob", Flow: monitor.Flow{State: state("alice & bob %% True")}, Methods: []monitor.Method{{Name: "echo"}}},
			{
				Name: "vault", Lines: true, Flow: monitor.Flow{State: state("alice %% True"), Owns: label.MustParseFormula("alice")},
				Methods: []monitor.Method{{Name: "known", Bits: 1, Gate: &guard.Gate{Shows: label.MustParseFormula("alice"), Input: label.MustParse("alice %% True")}}},
			},
			{Name: "reader", Flow: monitor.Flow{State: state("alice & bob %% True")}},
		},
		Grants: []monitor.Grant{
			grant("bob", monitor.KindPost, "letters"), grant("alice", monitor.KindPost, "inbox"),
			grant("alice", monitor.KindPut, "jobs"), grant("bob", monitor.KindTake, "jobs"),
			grant("alice", monitor.KindCall, "bob.echo"), grant("alice", monitor.KindCall, "vault.known"), grant("bob", monitor.KindCall, "vault.known"),
			grant("alice", monitor.KindSpawn, "reader"),
		},
		Mailboxes: []monitor.Mailbox{
			{Name: "letters", Label: label.MustParse("alice %% True"), Owner: "alice"},
			{Name: "inbox", Owner: "bob"},
			{Name: "jobs", Messages: 1},
		},
	}
}

// world is that monitor, and environments at it.
type world struct {
	monitor.Spawner // of instances on demand; there are none

	t        *testing.T
	log      *audit.Log
	m        *monitor.Monitor
	started  atomic.Int64
	children chan child
}

// child is what runs in a spawned environment.
type child func(ctx context.Context, c *sdk.Client) wire.Exit

func newWorld(t *testing.T) *world {
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit.jsonl"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	w := &world{t: t, log: log, children: make(chan child, 2)}
	if w.m, err = monitor.New(log, policy(), w); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) is(service string) wire.Identity {
	return wire.Identity{Service: service, Instance: fmt.Sprint(service, "-", w.started.Add(1))}
}

// start is a client in a new instance of service.
func (w *world) start(service string) *sdk.Client {
	w.t.Helper()
	e, err := w.m.Admit(w.is(service))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.m.Remove(e) })
	c, err := connect(e)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

func connect(e *monitor.Env) (*sdk.Client, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		nc, err := net.FileConn(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		ends[i] = nc.(*net.UnixConn)
	}
	go e.Serve(ends[0])
	return sdk.NewClient(context.Background(), ends[1])
}

// Spawn runs the next of the children as what was spawned.
func (w *world) Spawn(ctx context.Context, _ wire.Identity, template string, _ wire.Spawn, flow monitor.Flow, admit func(*monitor.Env)) (wire.Exit, error) {
	e, err := w.m.AdmitAt(w.is(template), flow)
	if err != nil {
		return wire.Exit{}, err
	}
	defer w.m.Remove(e)
	admit(e)
	c, err := connect(e)
	if err != nil {
		return wire.Exit{}, err
	}
	defer c.Close()
	return (<-w.children)(ctx, c), ctx.Err()
}

// pythons is a world in which what is spawned is a program in Python, its
// first argument.
type pythons struct {
	*world
	dir string // of the sockets
}

func (w pythons) Spawn(ctx context.Context, _ wire.Identity, template string, req wire.Spawn, flow monitor.Flow, admit func(*monitor.Env)) (wire.Exit, error) {
	id := w.is(template)
	e, err := w.m.AdmitAt(id, flow)
	if err != nil {
		return wire.Exit{}, err
	}
	defer w.m.Remove(e)
	admit(e)
	path := filepath.Join(w.dir, id.Instance)
	stop, err := w.listen(path, e.Serve)
	if err != nil {
		return wire.Exit{}, err
	}
	defer stop()
	cmd := exec.CommandContext(ctx, "python3", "-B", "-c", req.Args[0])
	cmd.Dir = "python"
	cmd.Env = append(os.Environ(), "COFFERDAM_SOCKET="+path)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	exit := wire.Exit{Cause: "exit"}
	if cmd.Run(); cmd.ProcessState.ExitCode() < 0 {
		exit.Cause = "signal"
	}
	exit.Code, exit.Stdout, exit.Stderr = max(cmd.ProcessState.ExitCode(), 0), stdout.Bytes(), stderr.Bytes()
	return exit, ctx.Err()
}

// listen has serve serve whoever connects to path. stop waits for the last of them.
func (w *world) listen(path string, serve func(*net.UnixConn)) (stop func(), err error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { serve(nc.(*net.UnixConn)) })
		}
	})
	return func() {
		l.Close()
		conns.Wait()
	}, nil
}

// TestMonitorPython runs the tests in Python.
func TestMonitorPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3: none on this machine")
	}
	w := pythons{newWorld(t), t.TempDir()}
	if w.m, err = monitor.New(w.log, policy(), w); err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"alice", "bob"} {
		stop, err := w.listen(filepath.Join(w.dir, service), func(nc *net.UnixConn) {
			e, err := w.m.Admit(w.is(service))
			if err != nil {
				t.Error(err)
				nc.Close()
				return
			}
			defer w.m.Remove(e)
			e.Serve(nc)
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
	}
	cmd := exec.CommandContext(limited(t), python, "-B", "-W", "error", "-m", "unittest", "-v", "test_monitor")
	cmd.Dir = "python"
	cmd.Env = append(os.Environ(), "COFFERDAM_TEST_MONITOR="+w.dir)
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("skipped")) {
		t.Errorf("python3 -m unittest: %v\n%s", err, out)
	}
}

// Line is a gate that says whether it was asked for anything.
func (w *world) Line(_ context.Context, service, _ string, _ wire.Identity, body []byte, flow monitor.Flow, admit func(*monitor.Env)) ([]byte, error) {
	e, err := w.m.AdmitAt(w.is(service), flow)
	if err != nil {
		return nil, err
	}
	defer w.m.Remove(e)
	admit(e)
	return fmt.Appendln(nil, len(body) > 0), nil
}

var (
	none   sdk.Options
	mine   = sdk.Options{Out: sdk.MustFormula("alice")}
	secret = sdk.MustLabel("alice %% True")
)

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// ok fails the test for an error, and is for what returns nothing else.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// got is the value of a call that must succeed.
func got[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

// refused fails the test unless labels forbid it, in words that hold part.
func refused(t *testing.T, err error, part string) {
	t.Helper()
	if !errors.Is(err, sdk.ErrLabel) || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v, want %v that says %q", err, sdk.ErrLabel, part)
	}
}

func TestMonitorStates(t *testing.T) {
	ctx, w := limited(t), newWorld(t)
	alice, bob := w.start("alice"), w.start("bob")
	me := got(alice.Labels(ctx))(t)
	if want := (sdk.Labels{Clearance: sdk.MustLabel("alice & bob %% True"), Owns: mine.Out}); !reflect.DeepEqual(me, want) {
		t.Errorf("Labels() = %+v, want %+v", me, want)
	}
	refused(t, bob.Raise(ctx, sdk.MustLabel("carol %% True"), none), "clearance")
	ok(t, bob.SetClearance(ctx, secret, none))
	refused(t, bob.SetClearance(ctx, sdk.MustLabel("alice & bob %% True"), none), "clearance")
	ok(t, bob.Raise(ctx, secret, none))
	refused(t, bob.Lower(ctx, sdk.Public, none), "label")
	refused(t, bob.Lower(ctx, sdk.Public, mine), "you own True")
	if l := got(bob.Labels(ctx))(t).Label; l != secret {
		t.Errorf("bob is at %v, want %v", l, secret)
	}
	ok(t, alice.Raise(ctx, secret, none))
	ok(t, alice.Lower(ctx, sdk.Public, mine))
}

func TestMonitorValues(t *testing.T) {
	ctx, w := limited(t), newWorld(t)
	alice, bob := w.start("alice"), w.start("bob")
	value := got(bob.Seal(ctx, secret, []byte("data"), none))(t)
	_, err := value.Unseal(ctx, none)
	refused(t, err, "raise your label")
	if l := got(value.Label(ctx))(t); l != secret {
		t.Errorf("Label() = %v, want %v", l, secret)
	}
	higher := got(value.Taint(ctx, sdk.MustLabel("bob %% True"), none))(t)
	refused(t, second(value.Relabel(ctx, sdk.Public, none)), "old")

	ok(t, bob.Mailbox("letters").Post(ctx, []byte("see"), sdk.Options{Handles: []sdk.Handle{value.Handle, higher.Handle}}))
	ok(t, bob.Drop(ctx, value.Handle, higher.Handle))
	if err := second(value.Unseal(ctx, none)); !errors.Is(err, sdk.ErrDenied) {
		t.Errorf("Unseal() of what was dropped = %v, want %v", err, sdk.ErrDenied)
	}
	refused(t, second(alice.Mailbox("letters").Recv(ctx, none)), "raise your label")
	m := got(alice.Mailbox("letters").Recv(ctx, mine))(t)
	if string(m.Data) != "see" || m.Label != secret || m.From.Service != "bob" || len(m.Handles) != 2 {
		t.Fatalf("got %+v", m)
	}
	public := got(m.Handles[0].Value().Relabel(ctx, sdk.Public, mine))(t)
	if data, l, err := public.UnsealLabel(ctx, none); err != nil || string(data) != "data" || l != sdk.Public {
		t.Errorf("UnsealLabel() = %q, %v, %v", data, l, err)
	}
	refused(t, second(m.Handles[1].Value().Unseal(ctx, mine)), "bob")
	if data := got(m.Handles[1].Value().Unseal(ctx, sdk.Options{Out: mine.Out, Raise: true}))(t); string(data) != "data" {
		t.Errorf("Unseal() = %q", data)
	}
	if l := got(alice.Labels(ctx))(t).Label; l != sdk.MustLabel("bob %% True") {
		t.Errorf("alice is at %v", l)
	}
}

func second[T any](_ T, err error) error { return err }

func TestMonitorMailboxes(t *testing.T) {
	ctx, w := limited(t), newWorld(t)
	alice, bob := w.start("alice"), w.start("bob")
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	now := sdk.Options{Now: true}
	jobs := alice.Mailbox("jobs")
	value := got(alice.Seal(ctx, secret, nil, none))(t)
	ok(t, jobs.Put(ctx, []byte("first"), none))
	for _, tt := range []struct {
		name string
		err  error
		want error
	}{
		{"nothing in the time", second(bob.Mailbox("inbox").Recv(short, none)), sdk.ErrEmpty},
		{"nothing now", second(bob.Mailbox("inbox").Recv(ctx, now)), sdk.ErrEmpty},
		{"no room now", jobs.Put(ctx, []byte("second"), now), sdk.ErrBusy},
		{"the mailbox of another", second(alice.Mailbox("inbox").Recv(ctx, none)), sdk.ErrDenied},
		{"no grant", bob.Mailbox("jobs").Put(ctx, nil, none), sdk.ErrDenied},
		{"no such mailbox", bob.Mailbox("nothing").Post(ctx, nil, none), sdk.ErrDenied},
		{"a value", second(value.Handle.Mailbox().Recv(ctx, none)), sdk.ErrDenied},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.want)
		}
	}

	// Who waits gets it when it comes, also for room.
	put := make(chan error)
	go func() { put <- jobs.Put(ctx, []byte("second"), none) }()
	for _, want := range []string{"first", "second"} {
		if m := got(bob.Mailbox("jobs").Take(ctx, none))(t); string(m.Data) != want {
			t.Errorf("Take() = %q, want %q", m.Data, want)
		}
	}
	ok(t, <-put)

	// A mailbox made at run time: others send to it with a handle that they were sent.
	box := got(bob.NewMailbox(ctx, sdk.Public, none))(t)
	ok(t, bob.Mailbox("letters").Post(ctx, nil, sdk.Options{Handles: []sdk.Handle{box.Handle}}))
	theirs := got(alice.Mailbox("letters").Recv(ctx, mine))(t).Handles[0].Mailbox()
	received := make(chan sdk.Message)
	go func() { received <- got(box.Recv(ctx, none))(t) }()
	ok(t, theirs.Post(ctx, []byte("hello"), none))
	if m := <-received; string(m.Data) != "hello" || m.From.Service != "alice" {
		t.Errorf("Recv() = %+v", m)
	}
	refused(t, second(theirs.Recv(ctx, none)), "handle of a mailbox")
}

// Recv that is canceled has the message or leaves it where it is.
func TestMonitorLosesNothing(t *testing.T) {
	ctx, w := limited(t), newWorld(t)
	alice, bob := w.start("alice"), w.start("bob")
	inbox := bob.Mailbox("inbox")
	for i := range 200 {
		want := fmt.Sprint(i)
		waiting, cancel := context.WithCancel(ctx)
		if i%2 == 0 {
			waiting, cancel = context.WithTimeout(ctx, time.Duration(i)*time.Microsecond)
		}
		sent := make(chan error)
		go func() {
			err := alice.Mailbox("inbox").Post(ctx, []byte(want), none)
			cancel()
			sent <- err
		}()
		m, err := inbox.Recv(waiting, none)
		ok(t, <-sent)
		if err != nil {
			m, err = inbox.Recv(ctx, sdk.Options{Now: true})
		}
		if err != nil || string(m.Data) != want {
			t.Fatalf("%d: Recv() = %q, %v", i, m.Data, err)
		}
	}
}

func TestMonitorPrivileges(t *testing.T) {
	ctx, w := limited(t), newWorld(t)
	alice, bob := w.start("alice"), w.start("bob")
	refused(t, second(bob.Delegate(ctx, mine.Out)), "own")
	p := got(alice.Delegate(ctx, sdk.MustFormula("alice | bob")))(t)
	if f := got(p.Formula(ctx))(t); f != sdk.MustFormula("alice | bob") {
		t.Errorf("Formula() = %v", f)
	}
	ok(t, alice.Mailbox("inbox").Post(ctx, nil, sdk.Options{Handles: []sdk.Handle{p.Handle}}))
	if h := got(bob.Mailbox("inbox").Recv(ctx, none))(t).Handles; len(h) != 1 {
		t.Fatalf("got %v", h)
	}
	if owns := got(bob.Labels(ctx))(t).Owns; owns != sdk.MustFormula("alice | bob") {
		t.Errorf("bob owns %v", owns)
	}
	ok(t, p.Revoke(ctx))
	if owns := got(bob.Labels(ctx))(t).Owns; owns != (sdk.Formula{}) {
		t.Errorf("bob owns %v after it was revoked", owns)
	}
}

func TestMonitorCapsules(t *testing.T) {
	ctx, w := limited(t), newWorld(t)
	alice, bob := w.start("alice"), w.start("bob")
	seal, other := got(alice.NewSeal(ctx))(t), got(alice.NewSeal(ctx))(t)
	capsule := got(seal.Sealer.Seal(ctx, sdk.Public, []byte("data"), none))(t)
	ok(t, alice.Mailbox("inbox").Post(ctx, nil, sdk.Options{Handles: []sdk.Handle{capsule.Handle, seal.Tester.Handle, other.Unsealer.Handle}}))
	h := got(bob.Mailbox("inbox").Recv(ctx, none))(t).Handles
	if err := second(h[0].Label(ctx)); !errors.Is(err, sdk.ErrDenied) {
		t.Errorf("Label() of a capsule = %v, want %v", err, sdk.ErrDenied)
	}
	if !got(h[1].Tester().Authenticate(ctx, h[0].Capsule()))(t) {
		t.Error("the capsule does not bear its seal")
	}
	if got(h[2].Unsealer().Authenticate(ctx, h[0].Capsule()))(t) {
		t.Error("the capsule bears another seal")
	}
	for _, unsealer := range h[1:] {
		if err := second(unsealer.Unsealer().Unseal(ctx, h[0].Capsule(), none)); !errors.Is(err, sdk.ErrDenied) {
			t.Errorf("Unseal() = %v, want %v", err, sdk.ErrDenied)
		}
	}
	if data := got(seal.Unsealer.Unseal(ctx, capsule, none))(t); string(data) != "data" {
		t.Errorf("Unseal() = %q", data)
	}
}

func TestMonitorChildren(t *testing.T) {
	ctx, w := limited(t), newWorld(t)
	alice := w.start("alice")
	bobs := sdk.MustLabel("bob %% True")
	value := got(alice.Seal(ctx, secret, []byte("data"), none))(t)
	w.children <- func(ctx context.Context, c *sdk.Client) wire.Exit {
		me, err := c.Labels(ctx)
		if err != nil || me.Label != secret || me.Owns != mine.Out || len(me.Handles) != 2 {
			t.Errorf("the child is %+v, %v", me, err)
			return wire.Exit{Cause: "exit", Code: 1}
		}
		data, err := me.Handles[0].Value().Unseal(ctx, none)
		if err != nil {
			t.Error(err)
		}
		return wire.Exit{Cause: "exit", Stdout: data}
	}
	options := sdk.SpawnOptions{Label: &secret, Clearance: &secret, Handles: []sdk.Handle{value.Handle}, Gives: []sdk.Formula{mine.Out}}
	result := got(alice.Start(ctx, "reader", secret, options))(t)
	refused(t, second(result.Wait(ctx, none)), "raise your label")
	if exit := got(result.Wait(ctx, mine))(t); string(exit.Stdout) != "data" || exit.Code != 0 {
		t.Errorf("Wait() = %+v", exit)
	}
	refused(t, second(alice.Start(ctx, "reader", sdk.Public, sdk.SpawnOptions{Label: &sdk.Top})), "clearance")

	// Whatever was agreed on as the label of the result is all that is told.
	w.children <- func(ctx context.Context, c *sdk.Client) wire.Exit {
		if err := c.Raise(ctx, bobs, none); err != nil {
			t.Error(err)
		}
		return wire.Exit{Cause: "exit", Stdout: []byte("bob's")}
	}
	above := got(alice.Start(ctx, "reader", sdk.Public, sdk.SpawnOptions{Clearance: &bobs}))(t)
	if err := second(above.Wait(ctx, none)); !errors.Is(err, sdk.ErrWithheld) {
		t.Errorf("Wait() = %v, want %v", err, sdk.ErrWithheld)
	}

	// One that does not end is killed, by a word or with its result.
	ended := make(chan struct{}, 1)
	for range 2 {
		w.children <- func(ctx context.Context, c *sdk.Client) wire.Exit {
			<-ctx.Done()
			ended <- struct{}{}
			return wire.Exit{}
		}
	}
	endless := got(alice.Start(ctx, "reader", sdk.Public, sdk.SpawnOptions{}))(t)
	if err := second(endless.Wait(ctx, sdk.Options{Now: true})); !errors.Is(err, sdk.ErrEmpty) {
		t.Errorf("Wait() = %v, want %v", err, sdk.ErrEmpty)
	}
	ok(t, endless.Kill(ctx, none))
	<-ended
	if err := second(endless.Wait(ctx, none)); !errors.Is(err, sdk.ErrCanceled) {
		t.Errorf("Wait() = %v, want %v", err, sdk.ErrCanceled)
	}
	ok(t, got(alice.Start(ctx, "reader", sdk.Public, sdk.SpawnOptions{}))(t).Drop(ctx))
	<-ended
}

func TestMonitorCalls(t *testing.T) {
	ctx, w := limited(t), newWorld(t)
	alice, bob := w.start("alice"), w.start("bob")
	value := got(alice.Seal(ctx, sdk.Public, []byte("data"), none))(t)
	serving, stop := context.WithCancel(ctx)
	served := make(chan error)
	saw := make(chan sdk.Caller, 1)
	go func() {
		served <- bob.Serve(serving, map[string]sdk.Handler{
			"echo": func(ctx context.Context, caller sdk.Caller, body []byte) ([]byte, error) {
				saw <- caller
				if len(caller.Handles) == 0 {
					return body, nil
				}
				data, err := caller.Handles[0].Value().Unseal(ctx, none)
				if err != nil {
					return nil, err
				}
				copied, err := bob.Seal(ctx, sdk.Public, bytes.ToUpper(data), none)
				caller.GiveAway(copied.Handle)
				return body, err
			},
		})
	}()
	reply := got(alice.CallWith(ctx, "bob.echo", []byte("body"), sdk.Options{Shown: mine.Out, Handles: []sdk.Handle{value.Handle}}))(t)
	if string(reply.Body) != "body" || reply.Label != sdk.Public || len(reply.Handles) != 1 {
		t.Fatalf("CallWith() = %+v", reply)
	}
	if data := got(reply.Handles[0].Value().Unseal(ctx, none))(t); string(data) != "DATA" {
		t.Errorf("Unseal() = %q", data)
	}
	caller := <-saw
	if caller.Shown != mine.Out || caller.Service != "alice" {
		t.Errorf("the handler saw %+v", caller)
	}
	// What came with the request is gone, and so is what was given away.
	for number := caller.Handles[0]; ; {
		err := second(number.Value().Unseal(ctx, none))
		if errors.Is(err, sdk.ErrDenied) {
			break
		}
		ok(t, err) // it is dropped after the reply
	}
	if out := got(alice.Call(ctx, "bob.echo", []byte("plain")))(t); string(out) != "plain" {
		t.Errorf("Call() = %q", out)
	}
	<-saw
	ok(t, alice.Raise(ctx, secret, none))
	refused(t, second(alice.Call(ctx, "bob.echo", nil)), "label")
	got(alice.CallWith(ctx, "bob.echo", nil, mine))(t)
	<-saw
	stop()
	<-served
}

func TestMonitorGate(t *testing.T) {
	ctx, w := limited(t), newWorld(t)
	alice, bob := w.start("alice"), w.start("bob")
	ok(t, alice.Raise(ctx, secret, none)) // what it puts in is as secret
	for body, want := range map[string]string{"": "false", "alice's": "true"} {
		if out := got(alice.Gate(ctx, "vault.known", mine.Out, []byte(body)))(t); string(out) != want {
			t.Errorf("Gate(%q) = %q, want %q", body, out, want)
		}
	}
	refused(t, second(alice.Gate(ctx, "vault.known", sdk.MustFormula("alice | bob"), nil)), "shown")
	refused(t, second(bob.Gate(ctx, "vault.known", mine.Out, nil)), "you own True")
	refused(t, second(bob.Call(ctx, "vault.known", nil)), "shown")
}
