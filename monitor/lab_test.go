package monitor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

const patience = time.Minute // after which a test is stuck, also on an emulated host

// lab is a monitor with a log and a spawner that a test can look into. At its
// end no goroutine may be left.
type lab struct {
	t        testing.TB
	m        *Monitor
	log      *audit.Log
	spawner  *fakeSpawner
	seen     int  // lines of the log that decisions has returned
	sendfile bool // programs of those that are admitted may pass memory on by reference

	mu        sync.Mutex // for tests that need one
	instances int
}

func newLab(t testing.TB, p Policy) *lab {
	t.Helper()
	leakCheck(t)
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit.jsonl"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	l := &lab{t: t, log: log, spawner: newFakeSpawner()}
	if l.m, err = New(log, p, l.spawner); err != nil {
		t.Fatal(err)
	}
	l.spawner.m = l.m
	return l
}

var checksLeaks bool // no tests run in parallel

// leakCheck fails t if goroutines are left when it has ended. Of several labs only the first one checks, for
// when a second is set up some of the first may be still to start.
func leakCheck(t testing.TB) {
	if checksLeaks {
		return
	}
	checksLeaks = true
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		checksLeaks = false
		for end := time.Now().Add(patience); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				stacks := make([]byte, 1<<20)
				t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
				return
			}
		}
	})
}

// admit makes service's instance a subject until the end of the test.
func (l *lab) admit(service, instance string, bound ...byte) *Env {
	l.t.Helper()
	e, err := l.m.Admit(wire.Identity{Service: service, Instance: instance, Bound: bound})
	if err != nil {
		l.t.Fatal(err)
	}
	l.asStarted(e)
	l.t.Cleanup(func() { l.m.Remove(e) })
	return e
}

// asStarted says of an environment what whoever starts it does.
func (l *lab) asStarted(e *Env) {
	if !l.sendfile {
		e.SendsCopies()
	}
}

// admitAt is admit for one with labels: its label, its clearance and what it owns,
// as their text.
func (l *lab) admitAt(service, instance, at, clearance, owns string) *Env {
	l.t.Helper()
	flow := Flow{State: guard.State{Label: label.MustParse(at), Clearance: label.MustParse(clearance)}, Owns: label.MustParseFormula(owns)}
	e, err := l.m.AdmitAt(wire.Identity{Service: service, Instance: instance}, flow)
	if err != nil {
		l.t.Fatal(err)
	}
	l.asStarted(e)
	l.t.Cleanup(func() { l.m.Remove(e) })
	return e
}

// decisions returns the decisions that were recorded since it was last asked.
func (l *lab) decisions() []audit.Record {
	l.t.Helper()
	if err := l.log.Flush(); err != nil {
		l.t.Fatal(err)
	}
	f, err := os.Open(l.log.Path())
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	var all []audit.Record
	lines := bufio.NewScanner(f)
	for n := 0; lines.Scan(); n++ {
		if n < l.seen {
			continue
		}
		var r audit.Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			l.t.Fatal(err)
		}
		l.seen++
		if r.Checkpoint == nil {
			all = append(all, r)
		}
	}
	return all
}

// peer is an environment's end of a wire connection, played frame by frame.
type peer struct {
	t    testing.TB
	nc   *net.UnixConn
	r    *wire.Reader
	last uint64 // id
}

// holds is how many handles e has.
func (e *Env) holds() int {
	e.flow.mu.Lock()
	defer e.flow.mu.Unlock()
	return len(e.flow.handles)
}

// connect opens a wire connection of e.
func (l *lab) connect(e *Env) *peer {
	l.t.Helper()
	ours, theirs := socketpair(l.t)
	go e.Serve(theirs)
	return &peer{t: l.t, nc: ours, r: wire.NewReader(ours)}
}

// server is a new instance of service that answers methods.
func (l *lab) server(service, instance string, methods ...string) (*Env, *peer) {
	l.t.Helper()
	e := l.admit(service, instance)
	p := l.connect(e)
	p.serve(methods...)
	for _, name := range methods {
		eventually(l.t, name+" is served", func() bool { return e.self.methods[name].servedBy(e) })
	}
	return e, p
}

// serving tells whether every method of a service that is shared has somebody to
// answer it.
func (l *lab) serving(name string) bool {
	s := l.m.policy.Load().services[name]
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, md := range s.methods {
		if len(md.shared.servers) == 0 && !s.Lines {
			return false
		}
	}
	return true
}

// servedBy tells whether a connection of e answers the method.
func (md *method) servedBy(e *Env) bool {
	md.of.mu.Lock()
	defer md.of.mu.Unlock()
	return slices.ContainsFunc(md.shared.servers, func(c *conn) bool { return c.env == e })
}

func socketpair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := func(fd int) *net.UnixConn {
		f := os.NewFile(uintptr(fd), "socketpair")
		defer f.Close()
		nc, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc.(*net.UnixConn)
	}
	return conn(fds[0]), conn(fds[1])
}

func (p *peer) sendBytes(b []byte) {
	p.t.Helper()
	p.nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.nc.Write(b); err != nil {
		p.t.Errorf("peer: write: %v", err)
	}
}

func (p *peer) send(f wire.Frame) {
	p.t.Helper()
	p.sendBytes(wire.AppendFrame(nil, &f))
}

// ask sends a request and returns its id.
func (p *peer) ask(op wire.Op, name string, timeout time.Duration, body []byte) uint64 {
	p.t.Helper()
	p.last++
	p.send(wire.Frame{Header: wire.Header{Op: op, ID: p.last, Timeout: timeout}, NameBytes: []byte(name), Body: body})
	return p.last
}

// call is ask for the commonest request.
func (p *peer) call(name, body string) uint64 {
	p.t.Helper()
	return p.ask(wire.OpCall, name, 0, []byte(body))
}

// asks sends an operation on labels and returns how it ended.
func (p *peer) asks(op wire.Op, a wire.Ask) (wire.Told, error) {
	p.t.Helper()
	return p.told(p.ask(op, "", 0, a.Append(nil, op)))
}

// told is the answer to an operation on labels.
func (p *peer) told(id uint64) (wire.Told, error) {
	p.t.Helper()
	f := p.next()
	if f.Op != wire.OpReply || f.ID != id {
		p.t.Fatalf("got %v %d %v, want the reply %d", f.Op, f.ID, f.Code, id)
	}
	if f.Code != wire.OK {
		return wire.Told{}, wire.Error{Code: f.Code, Message: string(f.Body)}
	}
	told, err := wire.ParseTold(f.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return told, nil
}

// does is asks for what must work.
func (p *peer) does(op wire.Op, a wire.Ask) wire.Told {
	p.t.Helper()
	told, err := p.asks(op, a)
	if err != nil {
		p.t.Fatalf("%v: %v", op, err)
	}
	return told
}

// fails is asks for what must not; the refusal has to say text.
func (p *peer) fails(op wire.Op, a wire.Ask, code wire.Code, text string) {
	p.t.Helper()
	told, err := p.asks(op, a)
	if e, ok := err.(wire.Error); !ok || e.Code != code || !strings.Contains(e.Message, text) {
		p.t.Fatalf("%v: %+v, %v, want %v that says %q", op, told, err, code, text)
	}
}

func (p *peer) serve(methods ...string) {
	p.t.Helper()
	p.want(p.ask(wire.OpServe, "", 0, methodFields(methods...)), wire.OK, "")
}

func methodFields(methods ...string) []byte {
	var body []byte
	for _, m := range methods {
		body = wire.AppendField(body, wire.KeyMethod, m)
	}
	return body
}

// read is the next frame, the peer's to keep.
func (p *peer) read() (wire.Frame, error) {
	p.nc.SetReadDeadline(time.Now().Add(patience))
	f, err := p.r.Next()
	f.NameBytes, f.CallerBytes, f.Body = bytes.Clone(f.NameBytes), bytes.Clone(f.CallerBytes), bytes.Clone(f.Body)
	return f, err
}

func (p *peer) next() wire.Frame {
	p.t.Helper()
	f, err := p.read()
	if err != nil {
		p.t.Fatalf("peer: next frame: %v", err)
	}
	return f
}

// want reads a reply and compares it.
func (p *peer) want(id uint64, code wire.Code, body string) {
	p.t.Helper()
	f := p.next()
	if f.Op != wire.OpReply || f.ID != id || f.Code != code || string(f.Body) != body {
		p.t.Fatalf("got %v %d %v %.80q, want reply %d %v %.80q", f.Op, f.ID, f.Code, f.Body, id, code, body)
	}
}

// called reads a call that the monitor delivers.
func (p *peer) called(method string) wire.Frame {
	p.t.Helper()
	f := p.next()
	if f.Op != wire.OpCall || string(f.NameBytes) != method {
		p.t.Fatalf("got %v %q, want a call of %q", f.Op, f.NameBytes, method)
	}
	return f
}

func (p *peer) reply(id uint64, code wire.Code, body string) {
	p.t.Helper()
	p.send(wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: id, Code: code}, Body: []byte(body)})
}

// quiet checks that nothing comes for a while. A frame that takes longer goes
// unnoticed, so it is only for what would come at once.
func (p *peer) quiet() {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if f, err := p.r.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Errorf("got %v %d %v, %v, want nothing", f.Op, f.ID, f.Code, err)
	}
}

// closed checks that the monitor ends the connection.
func (p *peer) closed() {
	p.t.Helper()
	for {
		_, err := p.read()
		if err == nil {
			continue
		}
		if err != io.EOF && !errors.Is(err, syscall.ECONNRESET) && err != io.ErrUnexpectedEOF {
			p.t.Errorf("the connection goes on: %v", err)
		}
		return
	}
}

// echo answers all calls with their body until the connection ends.
func (p *peer) echo() {
	for {
		p.nc.SetReadDeadline(time.Time{})
		f, err := p.r.Next()
		if err != nil {
			return
		}
		if f.Op == wire.OpCall {
			p.nc.Write(wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: f.ID}, Body: f.Body}))
		}
	}
}

// eventually waits for what other goroutines do.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// bank is the policy of most tests: front may use what bank provides, a sandbox
// only if something is bound to it, and a stranger nothing. Its shares have no
// root yet, see shared.
func bank() Policy {
	front := func(kind Kind, to string) Grant { return Grant{From: "front", Kind: kind, To: to, Rule: "m.yaml:1"} }
	return Policy{
		Services: []Service{
			{Name: "front", Methods: []Method{{Name: "page"}}},
			{Name: "bank", Ports: []int{9000, 8081}, HTTP: 8081, Methods: []Method{
				{Name: "balance"},
				{Name: "look", Idempotent: true},
				{Name: "give"},
				{Name: "brief", Deadline: 50 * time.Millisecond},
			}},
			{Name: "sandbox"},
			{Name: "stranger"},
			{Name: "script", Lines: true, Methods: []Method{{Name: "run"}}},
			{Name: "door"},
			{Name: "egress"},
		},
		Grants: []Grant{
			front(KindCall, "bank.balance"), front(KindCall, "bank.look"), front(KindCall, "bank.brief"),
			front(KindCall, "script.run"), front(KindCall, "bank.missing"),
			front(KindSpawn, "sandbox"),
			front(KindConnect, "bank:9000"), front(KindConnect, "bank:8081"),
			{From: "sandbox", Kind: KindCall, To: "bank.give", Bound: true, Rule: "m.yaml:2"},
			{From: "door", Kind: KindConnect, To: "bank:8081", Rule: "m.yaml:3"},
			wayOut("public.example:443", false), wayOut("inner.example:443", false), wayOut("site.example:443", true), wayOut("meta.example:80", true),
			wayOut("none.example:443", false), wayOut("192.0.2.7:80", true), wayOut("169.254.169.254:80", true),
			front(KindShare, "theories"), front(KindShare, "bank:theories"), front(KindShare, "sandbox:drop"),
			{From: "sandbox", Kind: KindShare, To: "drop", Rule: "m.yaml:4"},
			front(KindPost, "letters"), front(KindPost, "jobs"), front(KindPut, "jobs"), front(KindTake, "jobs"), front(KindPost, "vault"),
			{From: "sandbox", Kind: KindPost, To: "letters", Bound: true, Rule: "m.yaml:2"},
		},
		Shares: []Share{
			{Name: "theories", From: "/srv/theories"},
			{Name: "drop", From: "/srv/drop", Writable: true, SizeBytes: 1 << 20},
		},
		Mailboxes: []Mailbox{{Name: "letters", Owner: "bank"}, {Name: "jobs"}, {Name: "vault", Label: label.Top}},
		Door:      Door{Service: "door", Port: 8080},
		Egress:    Door{Service: "egress", Port: 8080},
	}
}

// endlessly are the rates of a way out that has none.
var endlessly = Rates{Bytes: Rate{Amount: Unlimited}, Connections: Rate{Amount: Unlimited}}

func wayOut(to string, private bool) Grant {
	return Grant{From: "front", Kind: KindEgress, To: to, Rule: "m.yaml:4", Private: private, Rates: endlessly}
}

// fakeSpawner runs nothing: what it is asked for waits in asked, and ends as
// the test says.
type fakeSpawner struct {
	asked     chan *run
	m         *Monitor
	lines     atomic.Int64 // programs per call
	unstarted bool         // none of which comes to be

	instance func(service string, key Key) (func(), error)
	ended    chan string // services, and whose instances of them
	unwell   chan string // instance and why, of those that do not respond
}

type run struct {
	ctx      context.Context
	by       wire.Identity
	template string // or service
	method   string // of Line
	req      wire.Spawn
	flow     Flow // also of Line
	admit    func(*Env)
	body     []byte
	child    *Env // of Line
	end      chan ending
}

// begins makes a subject of what was spawned.
func (r *run) begins(l *lab, instance string) *Env {
	l.t.Helper()
	e, err := l.m.AdmitAt(wire.Identity{Service: r.template, Instance: instance, Principal: r.req.Principal, Bound: r.req.Bound}, r.flow)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { l.m.Remove(e) })
	r.admit(e)
	return e
}

type ending struct {
	exit wire.Exit
	out  []byte
	err  error
}

func newFakeSpawner() *fakeSpawner {
	return &fakeSpawner{asked: make(chan *run, 2*MaxSpawns), ended: make(chan string, 64), unwell: make(chan string, 1024)}
}

func (s *fakeSpawner) Unresponsive(id wire.Identity, why string) {
	s.unwell <- id.Instance + ": " + why
}

func (s *fakeSpawner) run(r *run) ending {
	r.end = make(chan ending, 1)
	s.asked <- r
	select {
	case e := <-r.end:
		return e
	case <-r.ctx.Done():
		return ending{err: r.ctx.Err()}
	}
}

func (s *fakeSpawner) Spawn(ctx context.Context, by wire.Identity, template string, req wire.Spawn, flow Flow, admit func(*Env)) (wire.Exit, error) {
	e := s.run(&run{ctx: ctx, by: by, template: template, req: req, flow: flow, admit: admit})
	return e.exit, e.err
}

func (s *fakeSpawner) Instance(ctx context.Context, service string, key Key) (func(), error) {
	return s.instance(service, key)
}

func (s *fakeSpawner) End(service string, key Key) { s.ended <- service + " of " + key.Principal }

func (s *fakeSpawner) Line(ctx context.Context, service, method string, caller wire.Identity, body []byte, flow Flow, admit func(*Env)) ([]byte, error) {
	r := &run{ctx: ctx, by: caller, template: service, method: method, body: slices.Clone(body), flow: flow}
	if !s.unstarted {
		var err error
		id := wire.Identity{Service: service, Instance: fmt.Sprintf("%s-line-%d", service, s.lines.Add(1)), Principal: caller.Principal}
		if r.child, err = s.m.AdmitAt(id, flow); err != nil {
			return nil, err
		}
		defer s.m.Remove(r.child)
		admit(r.child)
	}
	e := s.run(r)
	return e.out, e.err
}

func (s *fakeSpawner) next(t testing.TB) *run {
	t.Helper()
	select {
	case r := <-s.asked:
		return r
	case <-time.After(patience):
		t.Fatal("nothing was spawned")
		return nil
	}
}

// tcpPair is a connection over the loopback, without anything between.
func tcpPair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	l := listen(t)
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near.(*net.TCPConn), far.(*net.TCPConn)
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
