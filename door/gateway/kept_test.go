package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tag is what a client asks for, and what a service that is honest about it answers.
func tag(c net.Conn, r *http.Request) string {
	return "HTTP/1.1 200 OK\r\nContent-Length: " + fmt.Sprint(len(r.URL.Path)) + "\r\n\r\n" + r.URL.Path
}

// keeps serves all requests on a connection. what says what comes after the answer; nil for nothing.
func keeps(conns *atomic.Int64, what func(c net.Conn, r *http.Request) (answer string)) func(net.Conn) {
	return func(c net.Conn) {
		conns.Add(1)
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			if _, err := io.WriteString(c, what(c, r)); err != nil {
				return
			}
		}
	}
}

// A connection to a service carries safe requests of one client for a second, and nothing else.
func TestConnectionsAreKept(t *testing.T) {
	var conns atomic.Int64
	s := start(t, Limits{}, keeps(&conns, tag))
	one, two := dial(t, s.outside), dial(t, s.outside)
	in := map[net.Conn]*bufio.Reader{one: bufio.NewReader(one), two: bufio.NewReader(two)}
	ask := func(c net.Conn, raw string, want int64) {
		t.Helper()
		io.WriteString(c, raw)
		if got := receive(t, in[c]); got.status() != 200 {
			t.Fatalf("%q got %d, %v", raw, got.status(), got.err)
		}
		if n := conns.Load(); n != want {
			t.Fatalf("after %.20q the service has had %d connections, want %d", raw, n, want)
		}
	}
	ask(one, get("/raw/1"), 1)
	for range 20 {
		ask(one, get("/raw/1"), 1)
	}
	ask(two, get("/raw/2"), 2)       // another client
	ask(one, post("/raw/1", "x"), 3) // not safe
	ask(one, post("/raw/1", ""), 4)  // nor this one
	ask(one, get("/raw/1"), 4)       // which may follow on its connection
	time.Sleep(keptFor + 100*time.Millisecond)
	ask(two, get("/raw/2"), 5) // a second later
}

// Services that do what they should not, after an answer. What one says is its answer, whatever it is, to
// the client that has asked on that connection, and to no other; and it cannot have said it before it was asked, unless in the same moment.
func TestHostileService(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	late := func(r *http.Request) string { // says whose connection it came on
		whose := "evil of " + r.URL.Path[:len("/raw/0/")]
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(whose), whose)
	}
	for _, tt := range []struct {
		name  string
		after func(c net.Conn, r *http.Request) string
		all   bool // requests are answered
	}{
		{"answers twice", func(c net.Conn, r *http.Request) string { return tag(c, r) + evil }, true},
		{"answers twice, a little later", func(c net.Conn, r *http.Request) string {
			io.WriteString(c, tag(c, r))
			time.Sleep(time.Millisecond)
			return late(r)
		}, false},
		{"answers before it is asked", func(c net.Conn, r *http.Request) string {
			io.WriteString(c, tag(c, r))
			time.Sleep(300 * time.Microsecond)
			return strings.Replace(late(r), "Content-Length: 15", "Content-Length: 400", 1)
		}, false},
		{"says one byte more", func(c net.Conn, r *http.Request) string { return tag(c, r) + "H" }, true},
		{"splits its answer by a header", func(c net.Conn, r *http.Request) string {
			return "HTTP/1.1 200 OK\r\nX: a\rContent-Length: 0\r\n\r\n" + evil
		}, false},
		{"says its length twice", func(c net.Conn, r *http.Request) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\nevil"
		}, false},
		{"says a length and chunks", func(c net.Conn, r *http.Request) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + evil
		}, false},
		{"has a body where there is none", func(c net.Conn, r *http.Request) string {
			return "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil" + evil
		}, false},
		{"announces without end", func(c net.Conn, r *http.Request) string {
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
					return ""
				}
			}
		}, false},
		{"has a head without end", func(c net.Conn, r *http.Request) string {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "A: b\r\n"); err != nil {
					return ""
				}
			}
		}, false},
		{"has a line ahead of a chunk without end", func(c net.Conn, r *http.Request) string {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(r.URL.Path), r.URL.Path)
			line := []byte(strings.Repeat("0", 1<<20))
			for n := range 64 {
				if _, err := c.Write(line); err != nil {
					return ""
				}
				if n == 63 {
					t.Error("64 MiB of one line were read")
				}
			}
			return ""
		}, false},
		{"closes after each answer without a word", func(c net.Conn, r *http.Request) string {
			defer c.Close()
			io.WriteString(c, tag(c, r))
			return ""
		}, true},
		{"resets after each answer", func(c net.Conn, r *http.Request) string {
			io.WriteString(c, tag(c, r))
			time.Sleep(time.Millisecond)
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			return ""
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var conns atomic.Int64
			timeout := int64(500) // some wait for what does not come
			if tt.all {
				timeout = 20_000
			}
			s := start(t, Limits{TimeoutMS: timeout}, keeps(&conns, tt.after))
			var all sync.WaitGroup
			for n := range 4 {
				all.Go(func() {
					c := dial(t, s.outside)
					in := bufio.NewReader(c)
					for i := range 20 {
						path := fmt.Sprintf("/raw/%d/%d", n, i)
						raw := get(path)
						if i%5 == 4 {
							raw = post(path, "x")
						}
						if _, err := io.WriteString(c, raw); err != nil {
							t.Errorf("request %d: %v", i, err)
							return
						}
						got := receive(t, in)
						switch {
						case got.status() == 200 && got.text != path && (tt.all || !strings.Contains(got.text, path[:len("/raw/0/")])):
							t.Errorf("%s was answered %q", path, got.text)
							return
						case tt.all && got.status() != 200:
							t.Errorf("%.20q was answered %d, %v", raw, got.status(), got.err)
							return
						case got.Response == nil || got.Close || got.err != nil:
							c = dial(t, s.outside)
							in.Reset(c)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// A service may answer before it has read what it is sent, and read no more.
func TestEarlyAnswers(t *testing.T) {
	for _, size := range []int{10, maxKept, 3 * maxKept, 900_000} {
		for _, close := range []bool{true, false} {
			s := start(t, Limits{TimeoutMS: 3000}, func(c net.Conn) {
				bufio.NewReaderSize(c, 16).ReadByte()
				io.WriteString(c, "HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 4\r\n\r\nmuch")
				if !close {
					time.Sleep(5 * time.Second)
				}
			})
			c := dial(t, s.outside)
			sent := make(chan error, 1)
			go func() {
				_, err := io.WriteString(c, post("/raw", strings.Repeat("x", size)))
				sent <- err
			}()
			got := receive(t, bufio.NewReader(c))
			// A service that closes with something unread resets the connection, which may overtake its answer.
			if got.status() != 413 && !(close && got.status() == 502) {
				t.Errorf("%d bytes, closed %v: answered %d %q, %v", size, close, got.status(), got.text, got.err)
			}
			c.Close()
			<-sent
		}
	}
}

// What a service sends bit by bit is passed on bit by bit, and what a client sends as well; neither is kept whole.
func TestStreams(t *testing.T) {
	next := make(chan string)
	s := start(t, Limits{BodyBytes: 64 << 20}, func(c net.Conn) {
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		switch r.URL.Path {
		case "/raw/events":
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
			for event := range next {
				fmt.Fprintf(c, "%x\r\n%s\r\n", len(event), event)
			}
			io.WriteString(c, "0\r\n\r\n")
		case "/raw/all":
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			for event := range next {
				io.WriteString(c, event)
			}
		case "/raw/up":
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%d %v", n, err)
		case "/raw/down":
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 64<<20)
			io.CopyN(c, zeros{}, 64<<20)
		}
	})
	for _, path := range []string{"/raw/events", "/raw/all"} {
		next = make(chan string)
		c := dial(t, s.outside)
		io.WriteString(c, get(path))
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			event := fmt.Sprintf("data: %d\n\n", i)
			next <- event
			got := make([]byte, len(event))
			if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != event {
				t.Fatalf("event %d: %q, %v", i, got, err)
			}
		}
		close(next)
		if left, err := io.ReadAll(res.Body); err != nil || len(left) != 0 {
			t.Errorf("%s: the end is %q, %v", path, left, err)
		}
	}
	c := dial(t, s.outside)
	io.WriteString(c, get("/raw/down"))
	if got := receive(t, bufio.NewReader(c)); len(got.text) != 64<<20 || got.err != nil {
		t.Errorf("down: %d bytes, %v", len(got.text), got.err)
	}
	for _, head := range []string{"Content-Length: 33554432\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"} {
		c := dial(t, s.outside)
		io.WriteString(c, "POST /raw/up HTTP/1.1\r\nHost: a\r\n"+head)
		for range 512 {
			piece := strings.Repeat("x", 64<<10)
			if strings.HasPrefix(head, "T") {
				piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
			}
			io.WriteString(c, piece)
		}
		if strings.HasPrefix(head, "T") {
			io.WriteString(c, "0\r\n\r\n")
		}
		if got := receive(t, bufio.NewReader(c)); got.text != "33554432 <nil>" {
			t.Errorf("up: %d %q, %v", got.status(), got.text, got.err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Requests that are sent before the one ahead was answered are answered in turn.
func TestPipelining(t *testing.T) {
	var conns atomic.Int64
	s := start(t, Limits{}, keeps(&conns, tag))
	c := dial(t, s.outside)
	var all strings.Builder
	for i := range 50 {
		if path := fmt.Sprint("/raw/", i); i%3 == 0 {
			all.WriteString(post(path, strings.Repeat("x", i)))
		} else {
			all.WriteString(get(path))
		}
	}
	go io.WriteString(c, all.String())
	in := bufio.NewReader(c)
	for i := range 50 {
		if got := receive(t, in); got.text != fmt.Sprint("/raw/", i) {
			t.Fatalf("request %d got %d %q, %v", i, got.status(), got.text, got.err)
		}
	}
}
