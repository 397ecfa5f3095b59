package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// RFC 6455 section 1.3.
const (
	aKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	itsSign = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func upgrade(path string, headers ...string) string {
	return get(path, append([]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + aKey}, headers...)...)
}

// echoes agrees to a web socket and sends back what comes; to all else it says what it was asked.
func echoes(c net.Conn) {
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	if r.Header.Get("Upgrade") == "" {
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nplain %v", r.Header["Connection"])
		return
	}
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: "+accepted(r.Header.Get("Sec-WebSocket-Key"))+"\r\nX-Request-Id: 1\r\n\r\nhello")
	io.Copy(c, in)
}

func sockets(t testing.TB, limits Limits, raw func(net.Conn)) *site {
	return startWith(t, Config{
		Routes: []Route{
			{Path: `/raw/secret`, To: "raw", WebSocket: true, Secret: true},
			{Path: `/raw/plain`, To: "raw"},
			{Path: `/raw/mine`, To: "raw", WebSocket: true, Asks: true},
			{Path: `/raw(/.*)?`, To: "raw", WebSocket: true},
		},
		Authenticate: &Authenticate{Call: "auth.check", Cookie: "session"},
		Says:         true,
		Limits:       limits,
	}, func(c net.Conn) {
		line := make([]byte, 1) // the monitor takes it off
		for line[0] != '\n' {
			if _, err := c.Read(line); err != nil {
				return
			}
		}
		raw(c)
	}, func(string) (string, error) { return `{"principal":"alice"}`, nil })
}

func TestWebSocket(t *testing.T) {
	s := sockets(t, Limits{TimeoutMS: 500}, echoes)
	c := dial(t, s.outside)
	// What is sent before there is an answer is for the web socket, whatever it looks like.
	io.WriteString(c, upgrade("/raw", "Origin: https://zoobar.example")+get("/raw/plain"))
	in := bufio.NewReader(c)
	got, err := http.ReadResponse(in, &http.Request{Method: "GET"})
	if err != nil || got.StatusCode != 101 || got.Header.Get("Sec-WebSocket-Accept") != itsSign || got.Header.Get("Upgrade") != "websocket" || got.Header.Get("X-Request-Id") == "1" {
		t.Fatalf("%+v, %v", got, err)
	}
	expect := func(want string) {
		t.Helper()
		b := make([]byte, len(want))
		if _, err := io.ReadFull(in, b); err != nil || string(b) != want {
			t.Fatalf("got %q, %v, want %q", b, err, want)
		}
	}
	expect("hello" + get("/raw/plain"))
	time.Sleep(700 * time.Millisecond) // longer than a request may take
	long := strings.Repeat("x", 1<<20)
	go io.WriteString(c, long)
	expect(long)
	c.(*net.TCPConn).CloseWrite()
	if left, err := io.ReadAll(in); len(left) != 0 || err != nil {
		t.Errorf("at the end: %q, %v", left, err)
	}
	if !s.logs(`"status":101,"bytes":`) {
		t.Errorf("the log does not say so: %s", s.log)
	}
}

// A request becomes a web socket where the route says so, and is one like any other elsewhere.
func TestNoWebSocket(t *testing.T) {
	says := func(head string) func(net.Conn) {
		return func(c net.Conn) {
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, head+"\r\n\r\n")
			io.Copy(io.Discard, c)
		}
	}
	for _, tt := range []struct {
		name, raw string
		service   func(net.Conn)
		status    int
		text      string
	}{
		{"another route", upgrade("/raw/plain"), echoes, 200, "plain []"},
		{"what is answered is secret", upgrade("/raw/secret"), echoes, 200, "plain []"},
		{"a page of another site", upgrade("/raw", "Origin: https://evil.example"), echoes, 403, ""},
		{"a page of one of two sites", upgrade("/raw", "Origin: https://zoobar.example", "Origin: https://evil.example"), echoes, 403, ""},
		{"a page of no site", upgrade("/raw", "Origin: null"), echoes, 403, ""},
		{"a page of the same site at another port", upgrade("/raw", "Origin: https://zoobar.example:81"), echoes, 403, ""},
		{"a POST", strings.Replace(upgrade("/raw", "Content-Length: 0"), "GET", "POST", 1), echoes, 200, "plain []"},
		{"with a body", upgrade("/raw", "Content-Length: 2") + "ok", echoes, 200, "plain []"},
		{"another protocol", get("/raw", "Connection: Upgrade", "Upgrade: h2c", "Sec-WebSocket-Key: "+aKey), echoes, 200, "plain []"},
		{"two protocols", upgrade("/raw", "Upgrade: h2c"), echoes, 200, "plain []"},
		{"not listed", get("/raw", "Upgrade: websocket", "Sec-WebSocket-Key: "+aKey), echoes, 200, "plain []"},
		{"two keys", upgrade("/raw", "Sec-WebSocket-Key: x"), echoes, 200, "plain []"},
		{"the service declines", upgrade("/raw"), says("HTTP/1.1 200 OK\r\nContent-Length: 0"), 200, ""},
		{"the service has not read the key", upgrade("/raw"), says("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x"), 502, ""},
		{"the service has read it twice", upgrade("/raw"), says("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + itsSign + "\r\nSec-WebSocket-Accept: " + itsSign), 502, ""},
		{"the service switches to something else", upgrade("/raw"), says("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: " + itsSign), 502, ""},
		{"the service switches without a word", upgrade("/raw"), says("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + itsSign), 502, ""},
		{"the service switches unasked", get("/raw/plain"), says("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + itsSign), 502, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sockets(t, Limits{TimeoutMS: 2000}, tt.service)
			if got := send(t, s.outside, tt.raw); got.status() != tt.status || tt.text != "" && got.text != tt.text {
				t.Errorf("answered %d %q, %v", got.status(), got.text, got.err)
			}
		})
	}
}

// One over which nothing comes ends, and it counts as a request that goes on until then; and as a connection.
func TestWebSocketsAreBounded(t *testing.T) {
	s := sockets(t, Limits{PerPrincipal: 2, IdleMS: 1500, PerPeer: 5}, echoes)
	open := func() net.Conn {
		c := dial(t, s.outside)
		io.WriteString(c, upgrade("/raw/mine", "Cookie: session=x"))
		if got, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "GET"}); err != nil || got.StatusCode != 101 {
			t.Fatalf("%+v, %v", got, err)
		}
		return c
	}
	began := time.Now()
	one, _ := open(), open()
	if got := send(t, s.outside, get("/raw/mine", "Cookie: session=x")); !tooMany(t, got) {
		t.Errorf("a third request of the same principal: %d", got.status())
	}
	for range 3 { // with the one of the third request
		dial(t, s.outside)
	}
	if got := receive(t, bufio.NewReader(dial(t, s.outside))); !tooMany(t, got) {
		t.Errorf("a sixth connection: %d", got.status())
	}
	if _, err := io.ReadAll(one); err != nil || time.Since(began) < time.Second {
		t.Errorf("the first ends with %v after %v", err, time.Since(began))
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c := dial(t, s.outside)
		io.WriteString(c, get("/raw/mine", "Cookie: session=x"))
		if got := receive(t, bufio.NewReader(c)); got.status() == 200 {
			break
		}
		c.Close()
		if time.Now().After(end) {
			t.Fatal("places of web sockets that have ended are not to be had again")
		}
	}
	if !s.logs(errIdle.Error()) {
		t.Errorf("the log does not say why: %s", s.log)
	}
}
