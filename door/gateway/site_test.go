package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// site is a gateway between a test and its services, all on the loopback.
type site struct {
	outside, bridge string // addresses
	log             *syncBuffer
	static, dynamic *service
	traces          *tracer
	stop            func()
}

// service is what stands behind the gateway; it keeps what reached it.
type service struct {
	answer http.HandlerFunc // nil answers with its name

	mu   sync.Mutex
	seen []*http.Request
	body []string
	said []string // the first lines of connections, in the order of their ends
}

func (s *service) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said
}

// saying gives connections that begin with a line, as the monitor does.
type saying struct {
	net.Listener
	s *service
}

func (l saying) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	if err != nil {
		c.Close()
		return l.Accept()
	}
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.said = append(l.s.said, strings.TrimSuffix(line, "\n"))
	return &said{c, in}, nil
}

type said struct {
	net.Conn
	in *bufio.Reader
}

func (c *said) Read(p []byte) (int, error) { return c.in.Read(p) }

func (s *service) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *service) bodies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.body
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var testRoutes = []Route{
	{Path: `/zoobar/index\.cgi(/.*)?`, To: "dynamic"},
	{Path: `/(index\.html|favicon\.ico|zoobar/media/.*)?`, To: "static"},
	{Path: `/zoobar/media/never`, To: "dynamic"},
	{Path: `/raw(/.*)?`, To: "raw"},
	{Path: `/down`, To: "down"},
}

// logs tells whether the log has a text, or gets it: a request is logged when it has been answered.
func (s *site) logs(text string) bool {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if strings.Contains(s.log.String(), text) {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// start serves a site until the test ends. raw answers for the service "raw",
// in a goroutine for each connection, and may be nil. "down" is a port nobody listens on.
func start(t testing.TB, limits Limits, raw func(net.Conn)) *site {
	t.Helper()
	return startWith(t, Config{Routes: testRoutes, Limits: limits}, raw, nil)
}

// startWith is start with what the gateway is told beside its services, and whom it asks
// who somebody is.
func startWith(t testing.TB, config Config, raw func(net.Conn), who func(cookie string) (string, error)) *site {
	t.Helper()
	s := &site{log: &syncBuffer{}, static: &service{}, dynamic: &service{}}
	addrs := map[string]string{
		"static":  serve(t, "static", s.static, config.Says),
		"dynamic": serve(t, "dynamic", s.dynamic, config.Says),
		"raw":     listenRaw(t, raw),
		"down":    "127.0.0.1:1",
	}
	config.Services = make(map[string]int)
	for name := range addrs {
		config.Services[name] = 8081
	}
	g, err := New(config, s.log)
	if err != nil {
		t.Fatal(err)
	}
	s.traces = g.traces
	g.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		name, _, _ := strings.Cut(addr, ":")
		return new(net.Dialer).DialContext(ctx, network, addrs[name])
	}
	if who != nil {
		g.who.call = func(_ context.Context, name string, body []byte) ([]byte, error) {
			if want := config.Authenticate.Call; name != want {
				return nil, fmt.Errorf("called %s, want %s", name, want)
			}
			answer, err := who(string(body))
			return []byte(answer), err
		}
	}
	outside, bridge := listen(t), listen(t)
	s.outside, s.bridge = outside.Addr().String(), bridge.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	done := make(chan struct{})
	go func() { g.Serve(ctx, outside, bridge); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
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

func serve(t testing.TB, name string, s *service, says bool) string {
	l := listen(t)
	if says {
		l = saying{l, s}
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.seen = append(s.seen, r)
		s.body = append(s.body, string(body))
		s.mu.Unlock()
		if s.answer != nil {
			s.answer(w, r)
			return
		}
		fmt.Fprintf(w, "from %s", name)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

func listenRaw(t testing.TB, raw func(net.Conn)) string {
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if raw != nil {
					raw(c)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// answer is what came back for one request written as bytes.
type answer struct {
	*http.Response
	text string
	err  error // of reading the body
}

// send writes raw to addr and reads one answer. A nil Response means that the
// connection was closed without one.
func send(t testing.TB, addr, raw string) answer {
	t.Helper()
	c := dial(t, addr)
	io.WriteString(c, raw) // the gateway may refuse before it has read everything
	return receive(t, bufio.NewReader(c))
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c
}

func receive(t testing.TB, r *bufio.Reader) answer {
	t.Helper()
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{Response: res, text: string(b), err: err}
}

// status is 0 for no answer.
func (a answer) status() int {
	if a.Response == nil {
		return 0
	}
	return a.StatusCode
}

func get(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: zoobar.example\r\n" + lines(headers) + "\r\n"
}

func post(path, body string, headers ...string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: zoobar.example\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n" + lines(headers) + "\r\n" + body
}

func lines(headers []string) string {
	if len(headers) == 0 {
		return ""
	}
	return strings.Join(headers, "\r\n") + "\r\n"
}
