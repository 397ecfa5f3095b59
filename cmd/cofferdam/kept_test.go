package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cofferdam/sdk"
	"cofferdam/supervisor"
)

// Connections that last: those that the gateway keeps to a service, those that it is answered on for
// long, and those of which a program has the socket. All programs write marks on theirs, on and on: one letter, which
// the test changes once something has been taken back. Whoever sees the new one has got a byte that it must not have.

const keptApp = `version: 1
name: kept
allow_degraded: [cgroup, disk-quota]
principals: [secret]
gateway:
  listen: ADDRESS
  authenticate: {call: auth.check, login: /login}
  routes:
    - {path: '/(login|logout)', to: front}
    - {path: '/back(/.*)?', to: back}
    - {path: '/other(/.*)?', to: other}
    - {path: '/holder(/.*)?', to: holder}
    - {path: '/riser(/.*)?', to: riser}
    - {path: '/page(/.*)?', to: page}
  limits: {timeout: 8s}
services:
  auth: {runtime: host, command: [/app/tenant, auth], files: [tenant:/app/tenant],
    provides: [{call: check, from: [gateway]}, {call: login, from: [front]}, {call: logout, from: [front]}]}
  front: {runtime: host, command: [/app/tenant, front], files: [tenant:/app/tenant], http: 8081}
  giver: {runtime: host, command: [/app/tenant, giver], files: [tenant:/app/tenant], owns: secret, provides: [{call: give, from: [other]}]}
  back: {runtime: host, command: [/app/tenant, lasting], files: [tenant:/app/tenant], http: 8081, tcp: [9000, 9001], stop_grace_period: 300ms,
    restart: {intensity: 1000, backoff: 1ms, backoff_max: 10ms},
    healthcheck: {http: /back/well, interval: 200ms, start_interval: 50ms, timeout: 1s, retries: 3}}
  other: {runtime: host, command: [/app/tenant, lasting], files: [tenant:/app/tenant], http: 8081, tcp: [9000], uses: [{call: giver.give}]}
  riser: {runtime: host, command: [/app/tenant, lasting], files: [tenant:/app/tenant], http: 8081, tcp: [9000], clearance: 'secret %% True'}
  page: {runtime: host, command: [/app/tenant, lasting], files: [tenant:/app/tenant], http: 8081, instances: per-principal, stop_grace_period: 300ms,
    label: '{principal} %% {principal}'}
  holder: {runtime: host, command: [/app/tenant, lasting], files: [tenant:/app/tenant], http: 8081, uses: [
    {connect: 'back:9001', direct: true},
    {connect: 'back:9000', direct: true},
    {connect: 'back:8081'},
    {connect: 'other:9000', direct: true},
    {connect: 'riser:9000'}]}
`

// lasting is a service of that application: it answers HTTP and on ports of TCP, dials others, and writes its mark on all of it.
type lasting struct {
	c     *sdk.Client
	mark  atomic.Uint32
	conns atomic.Int64

	seen [256]atomic.Int64 // marks that have come, on whichever connection

	mu   sync.Mutex
	held []*held
}

// held is a connection that this service has dialled.
type held struct {
	nc    net.Conn
	quiet bool // nobody reads or writes
	ended atomic.Bool
}

// keptState is what it says of itself.
type keptState struct {
	Instance string
	Seen     string // the marks
	Held     int    // connections
	Ended    int    // of them
	Direct   bool   // the last is one of which it has the socket
	Err      string
}

func serveLasting(c *sdk.Client) error {
	l := &lasting{c: c}
	l.mark.Store('a')
	for _, port := range []string{"9000", "9001"} {
		go serveTCP("127.0.0.1:"+port, func(nc net.Conn) error {
			l.talk(nc)
			return nil
		})
	}
	type first struct{}
	type conn struct {
		number int64
		nth    atomic.Int64
		mu     sync.Mutex
		who    *string
	}
	s := http.Server{
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, first{}, &conn{number: l.conns.Add(1)})
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			on := r.Context().Value(first{}).(*conn)
			who := r.Header.Get("Cofferdam-Principal")
			on.mu.Lock()
			if on.who == nil {
				on.who = &who
			}
			mixed := *on.who != who
			on.mu.Unlock()
			_, what, _ := strings.Cut(r.URL.Path[1:], "/")
			if what == "who" {
				fmt.Fprintf(w, "%s %d %d %q %v", c.Self().Instance, on.number, on.nth.Add(1), who, mixed)
				return
			}
			l.do(w, r, what)
		}),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:8081")
	if err != nil {
		return err
	}
	return s.Serve(listener)
}

// talk writes marks on a connection until it ends, and notes those that come.
func (l *lasting) talk(nc net.Conn) {
	var both sync.WaitGroup
	both.Go(func() { l.listen(nc) })
	both.Go(func() {
		for l.writeMark(nc) == nil {
			time.Sleep(time.Millisecond)
		}
	})
	both.Wait()
}

func (l *lasting) writeMark(w io.Writer) error {
	_, err := w.Write([]byte{byte(l.mark.Load())})
	return err
}

func (l *lasting) listen(r io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		for _, b := range buf[:n] {
			l.seen[b].Add(1)
		}
		if err != nil {
			return
		}
	}
}

// do is what the test wants of it.
func (l *lasting) do(w http.ResponseWriter, r *http.Request, what string) {
	q := r.URL.Query()
	state := keptState{Instance: l.c.Self().Instance}
	fails := func(err error) {
		if err != nil {
			state.Err = err.Error()
		}
	}
	switch what {
	case "well":
		return
	case "mark":
		l.mark.Store(uint32(q.Get("is")[0]))
	case "stream": // marks, as an answer that does not end
		for l.writeMark(w) == nil {
			w.(http.Flusher).Flush()
			time.Sleep(time.Millisecond)
		}
		return
	case "silent": // like a request that takes long
		time.Sleep(300 * time.Millisecond)
	case "raise":
		to, err := sdk.ParseLabel("secret %% True")
		if err == nil && q.Has("given") {
			err = l.beGiven(r.Context(), to)
		}
		if err == nil {
			err = l.c.Raise(context.Background(), to, sdk.Options{Force: true})
		}
		if err == nil {
			l.mark.Store('z') // from here on all that it says is secret
		}
		fmt.Fprintln(os.Stderr, "raised:", err)
		fails(err)
	case "dial":
		ctx, cancel := context.WithTimeout(r.Context(), 15*time.Second)
		nc, err := l.c.Dial(ctx, q.Get("to"))
		cancel()
		fails(err)
		if err == nil {
			_, state.Direct = nc.(*sdk.Conn)
			fails(l.hold(nc, q.Has("quiet"), q.Has("child")))
		}
	case "get": // over HTTP, from another service, for as long as it comes
		nc, err := net.DialTimeout("tcp", "back:8081", 5*time.Second)
		fails(err)
		if err == nil {
			h := l.add(nc)
			fmt.Fprint(nc, "GET /back/stream HTTP/1.1\r\nHost: back\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(nc), nil)
			fails(err)
			if err == nil {
				go func() { l.listen(res.Body); h.ended.Store(true) }()
			}
		}
	case "drain": // what is left to be read on those that nobody has read
		l.mu.Lock()
		for _, h := range l.held {
			if h.quiet {
				h.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
				n, err := io.Copy(io.Discard, h.nc)
				if n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
					state.Err += fmt.Sprintf("%d bytes are left, %v; ", n, err)
				}
			}
			h.nc.Close()
		}
		l.held = nil
		l.mu.Unlock()
	}
	l.mu.Lock()
	state.Held = len(l.held)
	for _, h := range l.held {
		if h.ended.Load() {
			state.Ended++
		}
	}
	l.mu.Unlock()
	for b := range l.seen {
		if l.seen[b].Load() > 0 {
			state.Seen += string(rune(b))
		}
	}
	json.NewEncoder(w).Encode(state)
}

// beGiven has the giver give it a privilege, with which it may rise.
func (l *lasting) beGiven(ctx context.Context, to sdk.Label) error {
	if _, err := l.c.CallWith(ctx, "giver.give", nil, sdk.Options{}); err != nil {
		return err
	}
	out, err := sdk.ParseFormula("secret")
	if err != nil {
		return err
	}
	return l.c.SetClearance(ctx, to, sdk.Options{Out: out})
}

// hold keeps a connection: it is talked on, or nothing is read or written; or a child
// talks on it, who has a descriptor of its own.
func (l *lasting) hold(nc net.Conn, quiet, child bool) error {
	h := l.add(nc)
	switch {
	case quiet:
		h.quiet = true
	case child:
		f, err := nc.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			return err
		}
		defer f.Close()
		cmd := exec.Command("/proc/self/exe", "pump")
		cmd.Args[0], cmd.ExtraFiles, cmd.Stderr = "tenant", []*os.File{f}, os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		go func() {
			for l.writeMark(in) == nil {
				time.Sleep(time.Millisecond)
			}
		}()
		go func() { l.listen(out); cmd.Wait(); h.ended.Store(true) }()
	default:
		go func() { l.talk(nc); h.ended.Store(true) }()
	}
	return nil
}

func (l *lasting) add(nc net.Conn) *held {
	h := &held{nc: nc}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = append(l.held, h)
	return h
}

// pump is a child that has the socket: it writes there what it is told, and says what comes, until it
// can do neither.
func pump() error {
	f := os.NewFile(3, "socket")
	nc, err := net.FileConn(f)
	if err != nil {
		return err
	}
	f.Close()
	var both sync.WaitGroup
	both.Go(func() { io.Copy(os.Stdout, nc) })
	both.Go(func() { io.Copy(nc, os.Stdin) })
	both.Wait()
	return nil
}

// serveGiver gives a privilege away.
func serveGiver(ctx context.Context, c *sdk.Client) error {
	return c.Serve(ctx, map[string]sdk.Handler{"give": func(ctx context.Context, caller sdk.Caller, _ []byte) ([]byte, error) {
		f, err := sdk.ParseFormula("secret")
		if err != nil {
			return nil, err
		}
		p, err := c.Delegate(ctx, f)
		if err != nil {
			return nil, err
		}
		caller.Give(p.Handle)
		return nil, nil
	}})
}

// lastingOnes is the application, and who asks it.
type lastingOnes struct {
	*people
	mark byte // the last that was told
}

// state asks a service to do something, on a connection of its own, and says how it is then.
func (a *lastingOnes) state(service, what string) (s keptState) {
	a.t.Helper()
	req, err := http.NewRequest("GET", "http://"+a.address+"/"+service+"/"+what, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatalf("%s %s: %v", service, what, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		a.t.Fatalf("%s %s: %s %v %s\n%s", service, what, res.Status, err, text, a.logs())
	}
	return s
}

// anew lets a service have another mark.
func (a *lastingOnes) anew(services ...string) string {
	a.t.Helper()
	a.mark++
	mark := string(rune('a' + a.mark))
	for _, service := range services {
		a.state(service, "mark?is="+mark)
	}
	return mark
}

// until waits until a service is in a state.
func (a *lastingOnes) until(service, what string, is func(keptState) bool) keptState {
	a.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s := a.state(service, "state")
		if is(s) {
			return s
		}
		if time.Now().After(end) {
			a.t.Fatalf("%s: it is not so that %s: %+v\n%s", service, what, s, a.logs())
		}
	}
}

// does runs a command of the operator's that must succeed.
func (a *lastingOnes) does(args ...string) {
	a.t.Helper()
	if out, errs, code := a.run(args...); code != 0 {
		a.t.Fatalf("%v: %d %s%s\n%s", args, code, out, errs, a.logs())
	}
}

// signal is sent to the programs of a service, or of one instance.
func (a *lastingOnes) signal(name string, sig syscall.Signal) {
	a.t.Helper()
	out, errs, _ := a.run("ps", "--format", "json")
	var all []supervisor.Status
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		a.t.Fatalf("ps: %v %s", err, errs)
	}
	for _, st := range all {
		if (st.Service == name || st.Instance == name) && st.Pid != 0 {
			for _, pid := range children(st.Pid) {
				syscall.Kill(pid, sig)
			}
			return
		}
	}
	a.t.Logf("ps knows no %s: it has ended by itself", name)
}

// write changes the manifest.
func (a *lastingOnes) write(changes ...string) {
	a.t.Helper()
	text := strings.Replace(keptApp, "ADDRESS", a.address, 1)
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			a.t.Fatalf("the manifest does not have %q", changes[i])
		}
		text = strings.Replace(text, changes[i], changes[i+1], 1)
	}
	if err := os.WriteFile(a.dir+"/cofferdam.yaml", []byte(text), 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// proxy is a connection to the gateway that several share.
type proxy struct {
	t  *testing.T
	nc net.Conn
	in *bufio.Reader
}

func (a *lastingOnes) proxy(t *testing.T) *proxy {
	t.Helper()
	nc, err := net.Dial("tcp", a.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(60 * time.Second))
	return &proxy{t, nc, bufio.NewReader(nc)}
}

func (p *proxy) send(method, path, session string) {
	cookie := ""
	if session != "" {
		cookie = "Cookie: session=" + session + "\r\n"
	}
	fmt.Fprintf(p.nc, "%s %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: 0\r\n\r\n", method, path, cookie)
}

func (p *proxy) receive() (*http.Response, string) {
	p.t.Helper()
	res, err := http.ReadResponse(p.in, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res, string(body)
}

func (p *proxy) ask(method, path, session string) (*http.Response, string) {
	p.t.Helper()
	p.send(method, path, session)
	return p.receive()
}

// heard is what a service was told.
type heard struct {
	instance  string
	conn, nth int
	who       string
	mixed     bool
}

func (p *proxy) heard(body string) (h heard) {
	p.t.Helper()
	if _, err := fmt.Sscanf(body, "%s %d %d %q %t", &h.instance, &h.conn, &h.nth, &h.who, &h.mixed); err != nil {
		p.t.Fatalf("%q: %v", body, err)
	}
	return h
}

// stream is an answer that does not end, of which the marks are noted.
type stream struct {
	mu    sync.Mutex
	seen  string
	ended chan struct{}
	err   error
}

func (a *lastingOnes) stream(t *testing.T, path, session string) *stream {
	t.Helper()
	p := a.proxy(t)
	p.send("GET", path, session)
	res, err := http.ReadResponse(p.in, nil)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v %v", path, res, err)
	}
	s := &stream{ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		buf := make([]byte, 4096)
		for {
			n, err := res.Body.Read(buf)
			s.mu.Lock()
			for _, b := range buf[:n] {
				if !strings.Contains(s.seen, string(rune(b))) {
					s.seen += string(rune(b))
				}
			}
			s.mu.Unlock()
			if err != nil {
				s.err = err
				return
			}
		}
	}()
	return s
}

func (s *stream) sees() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// awaitMark waits until it has come.
func (s *stream) awaitMark(t *testing.T, mark string) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !strings.Contains(s.sees(), mark); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it has seen %q, want %q", s.sees(), mark)
		}
	}
}

// wantCut waits for its end, which is no proper one.
func (s *stream) wantCut(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
		if s.err == io.EOF {
			t.Error("it seems to be whole")
		}
	case <-time.After(60 * time.Second):
		t.Error("it goes on")
	}
}

func TestLasting(t *testing.T) {
	for name, uid := range users() {
		t.Run(name, func(t *testing.T) { testLasting(t, uid) })
	}
}

func testLasting(t *testing.T, uid uint32) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &lastingOnes{people: &people{address: l.Addr().String()}}
	l.Close()
	a.site = newSite(t, "kept", strings.Replace(keptApp, "ADDRESS", a.address, 1), uid)
	a.up()
	defer func() { a.t = t }()
	session := map[string]string{"": ""}
	for _, name := range []string{"alice", "bob"} {
		p := a.proxy(t)
		res, _ := p.ask("GET", "/login?name="+name, "")
		if len(res.Cookies()) != 1 {
			t.Fatalf("login: %v", res)
		}
		session[name] = res.Cookies()[0].Value
	}

	t.Run("another's request", func(t *testing.T) { a.mixed(t, session) })
	for _, end := range []struct {
		name  string
		how   func()
		again func()
		left  bool // what was sent before may be read, for nobody took a right back
	}{
		{"revoked", func() { a.does("revoke", "holder", "connect", "back:9000") }, func() { a.does("grant", "holder", "connect", "back:9000") }, false},
		{"not in the manifest any more", func() {
			a.write("    {connect: 'back:9000', direct: true},\n", "")
			a.does("up")
		}, func() {
			a.write()
			a.does("up")
		}, false},
		{"replaced", func() { a.does("restart", "back") }, func() {}, true},
		{"killed", func() { a.signal("back", syscall.SIGKILL) }, func() {}, true},
		{"stopped", func() { a.signal("back", syscall.SIGSTOP) }, func() {}, true},
	} {
		t.Run("handed, "+end.name, func(t *testing.T) { a.handed(t, "back", end.how, end.again, end.left) })
	}
	t.Run("kept, retired", func(t *testing.T) { a.retired(t, "back", session) })
	t.Run("kept, replaced in order", func(t *testing.T) { a.inOrder(t) })
	t.Run("kept, of one principal, retired", func(t *testing.T) { a.retired(t, "page", session) })
	t.Run("kept, revoked", a.revoked)
	t.Run("routes change", func(t *testing.T) { a.routesChange(t, session["alice"]) })
	t.Run("between services, revoked", a.bridgeRevoked)
	t.Run("handed, risen", func(t *testing.T) {
		a.handed(t, "other", func() { a.rises("other", "raise?given") }, nil, false)
	})
	t.Run("kept, risen", a.risen)
	if out, _, code := a.run("audit", "verify"); code != 0 {
		t.Errorf("audit verify: %s", out)
	}
}

// mixed has two clients, one of which is a proxy for everybody, ask a service that has one instance for
// all. No connection to it is used for two of them, nor by two clients; and it is used for more than one request.
func (a *lastingOnes) mixed(t *testing.T, session map[string]string) {
	owner := make(map[int]int)
	kept := 0
	clients := []*proxy{a.proxy(t), a.proxy(t)}
	for round := range 40 {
		for n, p := range clients {
			var asked []string
			for i := range 1 + round%5 { // all at once, and the answers later
				who := []string{"alice", "bob", "", "alice", "alice"}[(round+n+i)%5]
				method := "GET"
				if (round+i)%7 == 3 {
					method = "POST"
				}
				asked = append(asked, who)
				p.send(method, "/back/who", session[who])
			}
			for _, who := range asked {
				res, body := p.receive()
				if res.StatusCode != 200 {
					t.Fatalf("%d %s", res.StatusCode, body)
				}
				h := p.heard(body)
				if h.who != who || h.mixed {
					t.Fatalf("%q asks, and it is told %+v", who, h)
				}
				if first, known := owner[h.conn]; known && first != n {
					t.Fatalf("connection %d is of both clients", h.conn)
				}
				owner[h.conn] = n
				if h.nth > 1 {
					kept++
				}
			}
		}
	}
	if kept == 0 {
		t.Error("no connection was kept: that shows nothing")
	}
}

// handed lets the holder hold sockets, ends that, and sees that nothing passes any more.
func (a *lastingOnes) handed(t *testing.T, to string, end, again func(), left bool) {
	a.t = t
	before := a.anew(to, "holder")
	for _, how := range []string{"", "&quiet", "&child"} {
		if s := a.state("holder", "dial?to="+to+":9000"+how); s.Err != "" || !s.Direct {
			t.Fatalf("dial: %+v\n%s", s, a.logs())
		}
	}
	instance := a.until(to, "it hears the holder", func(s keptState) bool { return strings.Contains(s.Seen, before) }).Instance
	a.until("holder", "it hears "+to, func(s keptState) bool { return strings.Contains(s.Seen, before) })
	end()
	var now keptState
	if again != nil {
		now = a.until(to, "it answers", func(keptState) bool { return true })
		if left {
			now = a.until(to, "there is another one", func(s keptState) bool { return s.Instance != instance })
		}
		after := a.anew(to, "holder")
		a.until("holder", "all has ended", func(s keptState) bool { return s.Ended == 2 })
		for _, service := range []string{to, "holder"} {
			if s := a.state(service, "state"); strings.Contains(s.Seen, after) {
				t.Errorf("%s has seen the mark %q: %+v", service, after, s)
			}
		}
	} else {
		a.anew("holder")
		s := a.until("holder", "all has ended", func(s keptState) bool { return s.Ended == 2 })
		if strings.Contains(s.Seen, "z") {
			t.Errorf("it has seen what is secret: %+v", s)
		}
	}
	if s := a.state("holder", "drain"); !left && s.Err != "" {
		t.Errorf("of what nobody has read: %s", s.Err)
	}
	if again == nil {
		return
	}
	again()
	// Whoever asks again is answered, by the instance that there is.
	mark := a.anew(to, "holder")
	if s := a.state("holder", "dial?to="+to+":9000"); s.Err != "" || !s.Direct {
		t.Fatalf("dial again: %+v", s)
	}
	if s := a.until(to, "it hears the holder", func(s keptState) bool { return strings.Contains(s.Seen, mark) }); s.Instance != now.Instance {
		t.Errorf("it is %s, and was %s", s.Instance, now.Instance)
	}
	a.state("holder", "drain")
}

// retired replaces an instance of a service in all ways while clients ask it on connections that are kept: each is
// answered, and by nobody who was gone.
func (a *lastingOnes) retired(t *testing.T, service string, session map[string]string) {
	a.t = t
	path := "/" + service + "/who"
	for _, how := range []string{"restart", "kill", "stop", "restart", "kill"} {
		if service == "page" && how == "stop" {
			continue // nobody looks after it
		}
		p := a.proxy(t)
		kept := 0
		var was heard
		for range 5 {
			res, body := p.ask("GET", path, session["alice"])
			if res.StatusCode != 200 {
				t.Fatalf("before %s: %d %s", how, res.StatusCode, body)
			}
			was = p.heard(body)
			kept = max(kept, was.nth)
		}
		if kept < 2 {
			t.Errorf("before %s no connection was kept", how)
		}
		slow := a.proxy(t)
		slow.send("GET", "/"+service+"/silent", session["alice"])
		switch how {
		case "restart":
			a.does("restart", service)
		case "kill":
			a.signal(was.instance, syscall.SIGKILL)
		case "stop":
			a.signal(was.instance, syscall.SIGSTOP)
		}
		// In order nobody notices. Otherwise who was at it is told, by the way of it, that it may be done; and what is
		// asked again is answered by the next one.
		typed := func(res *http.Response) bool {
			return how != "restart" && res.StatusCode >= 500 && res.Header.Get("Cofferdam-Done") != ""
		}
		for _, method := range []string{"GET", "POST", "GET"} {
			res, body := p.ask(method, path, session["alice"])
			for tries := 0; typed(res) && tries < 5; tries++ {
				res, body = p.ask(method, path, session["alice"])
			}
			if res.StatusCode != 200 {
				t.Fatalf("after %s, %s: %d %v %s", how, method, res.StatusCode, res.Header, body)
			}
			if h := p.heard(body); h.instance == was.instance {
				t.Errorf("after %s, %s is answered by %s still", how, method, h.instance)
			}
		}
		// What it was at is answered by itself or by the next one: it is safe, and so may be asked again.
		if res, body := slow.receive(); res.StatusCode != 200 && !typed(res) {
			t.Errorf("what was asked before %s: %d %v %s", how, res.StatusCode, res.Header, body)
		}
	}
}

// inOrder replaces a service again and again while clients ask it without a pause: nobody notices.
func (a *lastingOnes) inOrder(t *testing.T) {
	a.t = t
	over := make(chan struct{})
	var all sync.WaitGroup
	instances := make([]map[string]bool, 4)
	for n := range instances {
		p := a.proxy(t)
		seen := make(map[string]bool)
		instances[n] = seen
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				p.send([]string{"GET", "GET", "POST"}[i%3], "/back/who", "")
				res, err := http.ReadResponse(p.in, nil)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != 200 {
					t.Errorf("%s %v %s, %v", res.Status, res.Header, body, err)
					return
				}
				instance, _, _ := strings.Cut(string(body), " ")
				seen[instance] = true
			}
		})
	}
	for range 5 {
		a.does("restart", "back")
	}
	close(over)
	all.Wait()
	for _, seen := range instances {
		if len(seen) < 5 {
			t.Errorf("a client has met %v", seen)
		}
	}
}

// revoked takes the gateway's grant back while an answer is under way and a connection is kept.
func (a *lastingOnes) revoked(t *testing.T) {
	a.t = t
	for name, way := range map[string]struct{ end, again func() }{
		"revoke": {func() { a.does("revoke", "gateway", "connect", "back:8081") }, func() { a.does("grant", "gateway", "connect", "back:8081") }},
		"up": {func() {
			a.write("    - {path: '/back(/.*)?', to: back}\n", "")
			a.does("up")
		}, func() {
			a.write()
			a.does("up")
		}},
	} {
		before := a.anew("back")
		s := a.stream(t, "/back/stream", "")
		s.awaitMark(t, before)
		p := a.proxy(t)
		for range 3 {
			if res, body := p.ask("GET", "/back/who", ""); res.StatusCode != 200 {
				t.Fatalf("%s: %d %s", name, res.StatusCode, body)
			}
		}
		way.end()
		p.send("GET", "/back/who", "")
		if res, err := http.ReadResponse(p.in, nil); err == nil && (res.StatusCode == 200 || res.StatusCode == 502) {
			body, _ := io.ReadAll(res.Body)
			out, _, _ := a.run("audit", "-n", "12")
			t.Errorf("after %s a connection that was kept is used: %d %s\n%s", name, res.StatusCode, body, out)
		}
		s.wantCut(t)
		if got := s.sees(); !strings.HasSuffix(got, before) {
			t.Errorf("after %s it has seen %q", name, got)
		}
		way.again()
		if res, body := a.proxy(t).ask("GET", "/back/who", ""); res.StatusCode != 200 {
			t.Errorf("after %s and back: %d %s", name, res.StatusCode, body)
		}
	}
}

// routesChange changes routes while somebody asks by another one, which stays: he is answered, by the old gateway and
// by the next one.
func (a *lastingOnes) routesChange(t *testing.T, session string) {
	a.t = t
	over := make(chan struct{})
	var all sync.WaitGroup
	var asked atomic.Int64
	for range 2 {
		all.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				req, err := http.NewRequest("GET", "http://"+a.address+"/page/who", nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.Close = true
				req.Header.Set("Cookie", "session="+session)
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Error(err)
					continue
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if asked.Add(1); res.StatusCode != 200 {
					t.Errorf("%s %s", res.Status, body)
				}
			}
		})
	}
	for range 3 {
		a.write("    - {path: '/back(/.*)?', to: back}\n", "")
		a.does("up")
		a.write()
		a.does("up")
	}
	close(over)
	all.Wait()
	if asked.Load() == 0 {
		t.Error("nobody has asked")
	}
}

// bridgeRevoked takes a service's grant to another's HTTP back.
func (a *lastingOnes) bridgeRevoked(t *testing.T) {
	a.t = t
	before := a.anew("back", "holder")
	if s := a.state("holder", "get"); s.Err != "" {
		t.Fatal(s.Err)
	}
	a.until("holder", "it hears back", func(s keptState) bool { return strings.Contains(s.Seen, before) })
	a.does("revoke", "holder", "connect", "back:8081")
	after := a.anew("back")
	if s := a.until("holder", "it has ended", func(s keptState) bool { return s.Ended == 1 }); strings.Contains(s.Seen, after) {
		t.Errorf("it has seen the mark %q: %+v", after, s)
	}
	if s := a.state("holder", "get"); s.Err == "" {
		t.Error("it can be asked again")
	}
	a.does("grant", "holder", "connect", "back:8081")
	a.state("holder", "drain")
}

// rises has a service raise its label: whoever asked for that cannot be told.
func (a *lastingOnes) rises(service, what string) {
	a.t.Helper()
	p := a.proxy(a.t)
	p.send("GET", "/"+service+"/"+what, "")
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, errs, _ := a.run("logs", service)
		if strings.Contains(out+errs, "raised: <nil>") {
			return
		}
		if time.Now().After(end) {
			a.t.Fatalf("it does not rise: %s%s", out, errs)
		}
	}
}

// risen has a service rise above what its clients may hear: they hear nothing more.
func (a *lastingOnes) risen(t *testing.T) {
	a.t = t
	before := a.anew("riser")
	s := a.stream(t, "/riser/stream", "")
	s.awaitMark(t, before)
	p := a.proxy(t)
	kept := 0
	for range 5 {
		res, body := p.ask("GET", "/riser/who", "")
		if res.StatusCode != 200 {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		kept = max(kept, p.heard(body).nth)
	}
	if kept < 2 {
		t.Error("no connection was kept")
	}
	if s := a.state("holder", "dial?to=riser:9000"); s.Err != "" || s.Direct {
		t.Fatalf("dial: %+v", s)
	}
	a.until("holder", "it hears it", func(s keptState) bool { return strings.Contains(s.Seen, before) })
	a.rises("riser", "raise")
	p.send("GET", "/riser/who", "")
	s.wantCut(t)
	if got := s.sees(); got != before {
		t.Errorf("it has seen %q", got)
	}
	if got := a.state("holder", "state"); strings.Contains(got.Seen, "z") {
		t.Errorf("it has seen what is secret: %+v", got)
	}
	// There is no instance that may answer, and there will be none; whether there is one is not for them to know.
	if res, body := p.receive(); res.StatusCode != http.StatusServiceUnavailable && res.StatusCode != http.StatusGatewayTimeout || res.Header.Get("Cofferdam-Done") == "" {
		t.Errorf("who asks then gets %d %v %s", res.StatusCode, res.Header, body)
	}
}
