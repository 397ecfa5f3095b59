package manager_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	. "cofferdam/examples/isabelle/manager"
	"cofferdam/examples/isabelle/protocol"
)

// host is a host with an instance of a stub for each tenant, which is started when
// somebody connects and ends when nobody is connected any more.
type host struct {
	mu       sync.Mutex
	stubs    map[string]*stub
	started  map[string]int // so many instances of each tenant
	received []string       // all that instances were sent
	ended    []string       // whose instances were to end, in that order
	absent   bool           // none can be had
}

func (h *host) Dial(_ context.Context, tenant string) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.absent {
		return nil, io.EOF
	}
	s := h.stubs[tenant]
	if s == nil || s.isDead() {
		s = newStub(h, h.started[tenant])
		h.started[tenant]++
		h.stubs[tenant] = s
	}
	return net.Dial("tcp", s.l.Addr().String())
}

func (h *host) Mount(_ context.Context, _, dir string) (string, error) { return alias(dir), nil }

func (h *host) End(_ context.Context, tenant string) error {
	if s := h.stub(tenant); s != nil {
		s.kill()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = append(h.ended, tenant)
	return nil
}

func alias(dir string) string {
	hash := sha256.Sum256([]byte(dir))
	return "/shares/" + hex.EncodeToString(hash[:16])
}

func (h *host) stub(tenant string) *stub {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stubs[tenant]
}

func (h *host) startedOf(tenant string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.started[tenant]
}

func (h *host) got(m string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.received = append(h.received, m)
}

func (h *host) sawAny(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.received {
		if strings.Contains(m, text) {
			return true
		}
	}
	return false
}

// stub is a server that does what the names of theories say.
type stub struct {
	h      *host
	number int
	l      net.Listener

	mu       sync.Mutex
	dead     bool
	conns    map[net.Conn]bool
	sessions int
	running  int // use_theories at this moment
	most     int // of them at a time
}

func newStub(h *host, number int) *stub {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s := &stub{h: h, number: number, l: l, conns: make(map[net.Conn]bool)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			dead := s.dead
			s.conns[c] = true
			s.mu.Unlock()
			if dead {
				c.Close()
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *stub) isDead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead
}

// kill ends it like a killed process.
func (s *stub) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	s.l.Close()
	for c := range s.conns {
		c.Close()
	}
}

func (s *stub) serve(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		left := len(s.conns)
		s.mu.Unlock()
		if left == 0 {
			s.kill()
		}
	}()
	fmt.Fprintf(c, "instance %d\n", s.number)
	r := protocol.NewReader(c, protocol.Limits{})
	if line, err := r.Line(); err != nil || !strings.HasPrefix(string(line), "/shares/") {
		return
	}
	k := &talk{stub: s, c: c, tasks: make(map[string]chan struct{})}
	k.say(protocol.Version("abc", fmt.Sprintf("Stub%d", s.number)))
	for {
		b, err := r.Message()
		if err != nil {
			return
		}
		m := protocol.Parse(b)
		if m.Argument != `"still there?"` {
			s.h.got(string(b))
		}
		k.obey(m)
	}
}

// talk is one connection of a stub.
type talk struct {
	*stub
	c     net.Conn
	mu    sync.Mutex
	tasks map[string]chan struct{}
}

func (k *talk) say(m protocol.Message) { k.raw(string(m.Frame())) }

func (k *talk) raw(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	io.WriteString(k.c, text)
}

type fields = protocol.Object

var tasksMade struct {
	sync.Mutex
	n int
}

func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

func newTask() string {
	tasksMade.Lock()
	defer tasksMade.Unlock()
	tasksMade.n++
	return id(tasksMade.n)
}

func (k *talk) obey(m protocol.Message) {
	v, _ := m.Value(protocol.Bounds{})
	a, ok := m.Arguments(v)
	if !ok {
		k.say(protocol.BadArgument(m))
		return
	}
	switch a := a.(type) {
	case protocol.TaskID:
		k.mu.Lock()
		if end := k.tasks[a.ID]; end != nil {
			delete(k.tasks, a.ID)
			close(end)
		}
		k.mu.Unlock()
		k.say(protocol.Reply(protocol.OK, protocol.Unit{}))
	case protocol.Session:
		task := newTask()
		k.say(protocol.Started(task))
		k.say(protocol.TaskNote(task, "writeln", "Starting session "+a.Session+" ..."))
		if m.Name == "session_build" {
			k.say(protocol.FinishedTask(task, protocol.Field{Name: "ok", Value: true}, protocol.Field{Name: "return_code", Value: 0}, protocol.Field{Name: "sessions", Value: []any{}}))
			return
		}
		k.stub.mu.Lock()
		k.sessions++
		n := k.sessions
		k.stub.mu.Unlock()
		k.say(protocol.FinishedTask(task, protocol.Field{Name: "session_id", Value: id(n + 1000*k.number)}, protocol.Field{Name: "tmp_dir", Value: fmt.Sprintf("/tmp/sessions/server_session%d", n)}))
	case protocol.SessionID:
		task := newTask()
		k.say(protocol.Started(task))
		k.say(protocol.FinishedTask(task, protocol.Field{Name: "ok", Value: true}, protocol.Field{Name: "return_code", Value: 0}))
	case protocol.PurgeTheories:
		k.say(protocol.Reply(protocol.OK, fields{{Name: "purged", Value: k.nodes(a.Theories, a.MasterDir)}, {Name: "retained", Value: []any{}}}))
	case protocol.UseTheories:
		k.use(a)
	default:
		k.say(protocol.Reply(protocol.OK, v))
	}
}

func (k *talk) nodes(theories []string, master *string) []protocol.Object {
	nodes := []protocol.Object{}
	for _, t := range theories {
		name := t + ".thy"
		if master != nil && !strings.HasPrefix(name, "/") {
			name = path.Join(*master, name)
		}
		nodes = append(nodes, fields{{Name: "node_name", Value: name}, {Name: "theory_name", Value: "Draft." + path.Base(t)}})
	}
	return nodes
}

// use does what the first theory is called.
func (k *talk) use(u protocol.UseTheories) {
	task, name := newTask(), u.Theories[0]
	switch name {
	case "Unanswered":
		return
	case "Refused":
		k.say(protocol.UserError("Bad theory /shares/nowhere"))
		return
	case "StartedTwice":
		k.say(protocol.Started(id(0)))
		k.say(protocol.Started(id(0)))
		return
	case "NoTask":
		k.say(protocol.Reply(protocol.OK, fields{}))
		return
	}
	k.say(protocol.Started(task))
	switch name {
	case "Crash":
		k.kill()
		return
	case "Leaves":
		k.c.Close()
		return
	case "Stopped": // for ever, whatever it is told
		return
	case "Loop":
		k.loop(task, protocol.FailedTask(task, "Interrupt"))
		return
	case "Slow":
		k.stub.mu.Lock()
		k.running++
		k.most = max(k.most, k.running)
		k.stub.mu.Unlock()
		time.Sleep(30 * time.Millisecond)
		k.stub.mu.Lock()
		k.running--
		k.stub.mu.Unlock()
	case "ExtraOK":
		k.say(protocol.Reply(protocol.OK, protocol.Unit{}))
	case "OtherTask":
		k.say(protocol.FinishedTask(id(0), protocol.Field{Name: "ok", Value: true}))
	case "OtherNote":
		k.say(protocol.TaskNote(id(0), "writeln", "x"))
	case "NoNote":
		k.say(protocol.Reply(protocol.Note, 1))
	case "NoResult":
		k.say(protocol.FinishedTask(task, protocol.Field{Name: "ok", Value: "yes"}))
	case "NoKind":
		k.say(protocol.Reply(protocol.Failed, fields{{Name: "task", Value: task}}))
	case "Garbage":
		k.raw("\x00\xff{]}\n")
	case "NotUTF8":
		k.raw("NOTE \"\xff\"\n")
	case "Deep":
		k.raw("NOTE " + strings.Repeat("[", 100000) + "\n")
	case "Values":
		k.raw("NOTE [" + strings.Repeat("0,", 100000) + "0]\n")
	case "Huge":
		k.raw("999999999\n")
	case "Header":
		k.raw("00000000000000000000001\n")
	case "Endless":
		k.raw(strings.Repeat("x", 4<<20))
	case "Unfinished":
		k.raw("500000\nNOTE ")
		return
	case "Command":
		k.raw("use_theories {}\n")
	case "Silent":
		k.raw("\n")
	case "Late":
		k.finish(task, u)
		k.say(protocol.TaskNote(task, "writeln", "late"))
		return
	case "Paths":
		k.say(protocol.TaskNote(task, "writeln", `Loading "`+*u.MasterDir+`/Paths.thy" for /shares/ffffffffffffffffffffffffffffffff`))
		k.say(protocol.Reply(protocol.Note, fields{{Name: "kind", Value: "nodes_status"}, {Name: "nodes_status", Value: k.nodes(u.Theories, u.MasterDir)}}))
	case "Big":
		k.say(protocol.TaskNote(task, "writeln", strings.Repeat("/shares/x ", 400<<10)))
	}
	k.finish(task, u)
}

func (k *talk) loop(task string, end protocol.Message) {
	canceled := make(chan struct{})
	k.mu.Lock()
	k.tasks[task] = canceled
	k.mu.Unlock()
	go func() {
		<-canceled
		k.say(end)
	}()
}

func (k *talk) finish(task string, u protocol.UseTheories) {
	nodes := k.nodes(u.Theories, u.MasterDir)
	message := fields{{Name: "kind", Value: "writeln"}, {Name: "message", Value: "theorem in " + nodes[0].Text("node_name")}, {Name: "pos", Value: fields{{Name: "line", Value: 1}, {Name: "file", Value: nodes[0].Text("node_name")}}}}
	export := fields{{Name: "name", Value: "Draft.X/a"}, {Name: "base64", Value: false}, {Name: "body", Value: nodes[0].Text("node_name")}}
	for i := range nodes {
		nodes[i] = append(nodes[i], protocol.Field{Name: "messages", Value: []any{message}}, protocol.Field{Name: "exports", Value: []any{export}})
	}
	k.say(protocol.FinishedTask(task, protocol.Field{Name: "ok", Value: true}, protocol.Field{Name: "errors", Value: []any{}}, protocol.Field{Name: "nodes", Value: nodes}))
}

// site is a manager of alice and bob.
type site struct {
	*host
	address string
	log     *logged
}

const library = "/srv/library"

func open(t *testing.T, change func(*Limits)) *site {
	t.Helper()
	limits := Defaults()
	limits.Gone = 20 * time.Millisecond
	limits.Ping = 20 * time.Millisecond
	limits.Each = time.Microsecond
	limits.Start = 5 * time.Second
	if change != nil {
		change(&limits)
	}
	var list []string
	for _, name := range []string{"alice", "bob"} {
		hash := sha256.Sum256([]byte(password(name)))
		list = append(list, fmt.Sprintf(`{"name":%q,"password_sha256":"%x","directories":["/srv/tenants/%s",%q]}`, name, hash, name, library))
	}
	tenants, err := ParseTenants([]byte(`{"tenants":[` + strings.Join(list, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{host: &host{stubs: make(map[string]*stub), started: make(map[string]int)}, address: l.Addr().String(), log: new(logged)}
	m := New(tenants, s.host, limits, slog.New(slog.NewTextHandler(s.log, nil)))
	go m.Serve(l)
	t.Cleanup(func() {
		l.Close()
		s.host.mu.Lock()
		defer s.host.mu.Unlock()
		s.absent = true
		for _, stub := range s.stubs {
			stub.kill()
		}
		if t.Failed() {
			t.Logf("the manager logged:\n%s", s.log)
		}
	})
	return s
}

func password(tenant string) string { return "password of " + tenant }

// logged is a log that several write.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// visitor is a client of the manager.
type visitor struct {
	t    *testing.T
	conn net.Conn
	in   *protocol.Reader
}

func (s *site) connect(t *testing.T, first string) *visitor {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	v := &visitor{t, conn, protocol.NewReader(conn, protocol.Limits{})}
	v.raw(first)
	return v
}

// login connects with the password, and returns with the greeting.
func (s *site) login(t *testing.T, tenant string) *visitor {
	t.Helper()
	v := s.connect(t, password(tenant)+"\n")
	if m := v.read(); m.Name != protocol.OK || !strings.Contains(m.Argument, `"isabelle_name":"Stub`) {
		t.Fatalf("the password is answered by %+v", m)
	}
	return v
}

func (v *visitor) raw(text string) {
	v.t.Helper()
	if _, err := io.WriteString(v.conn, text); err != nil {
		v.t.Fatal(err)
	}
}

func (v *visitor) read() protocol.Message {
	v.t.Helper()
	b, err := v.in.Message()
	if err != nil {
		v.t.Fatalf("no reply: %v", err)
	}
	return protocol.Parse(b)
}

// ask sends a command and returns its answer.
func (v *visitor) ask(text string) protocol.Message {
	v.t.Helper()
	v.raw(text + "\n")
	for {
		if m := v.read(); m.Name == protocol.OK || m.Name == protocol.Error {
			return m
		}
	}
}

// do sends a command that starts a task, and returns the end of that and its notes.
func (v *visitor) do(text string) (end protocol.Message, notes []protocol.Message) {
	v.t.Helper()
	started := v.ask(text)
	if started.Name != protocol.OK {
		return started, nil
	}
	task := value(v.t, started).Text("task")
	for {
		m := v.read()
		switch {
		case m.Name == protocol.Note:
			notes = append(notes, m)
		case value(v.t, m).Text("task") != task:
			v.t.Fatalf("task %s ends as %+v", task, m)
		default:
			return m, notes
		}
	}
}

func value(t *testing.T, m protocol.Message) protocol.Object {
	t.Helper()
	v, err := m.Value(protocol.Bounds{})
	o, ok := v.(protocol.Object)
	if err != nil || !ok {
		t.Fatalf("%+v is no object: %v", m, err)
	}
	return o
}

// session starts one and returns its id.
func (v *visitor) session() string {
	v.t.Helper()
	m, _ := v.do(`session_start {"session":"HOL"}`)
	if m.Name != protocol.Finished {
		v.t.Fatalf("session_start: %+v", m)
	}
	return value(v.t, m).Text("session_id")
}

func use(session, theory string) string {
	return fmt.Sprintf(`use_theories {"session_id":%q,"theories":[%q],"master_dir":"."}`, session, theory)
}

// isClosed fails the test unless the connection ends without another byte.
func (v *visitor) isClosed() {
	v.t.Helper()
	if n, err := v.conn.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, context.DeadlineExceeded) {
		v.t.Errorf("the connection says %d more bytes, %v", n, err)
	}
}
