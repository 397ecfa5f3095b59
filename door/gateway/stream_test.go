package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// events serves one request on a connection: a piece of an answer each time, until some were sent or nobody listens. It
// reports how the connection ended.
func events(times int, every time.Duration, piece string, ended chan<- error) func(net.Conn) {
	return func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		r.Body.Close()
		_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		for n := 0; n != times && err == nil; n++ {
			_, err = c.Write(frame(nil, []byte(piece)))
			time.Sleep(every)
		}
		if strings.HasSuffix(r.URL.Path, "/hangs") && err == nil {
			_, err = io.Copy(io.Discard, c)
		} else if err == nil {
			_, err = io.WriteString(c, lastChunk)
		}
		if ended != nil {
			ended <- err
		}
	}
}

// An answer of which pieces come goes on, whatever the timeout, for as long as a stream may.
func TestLongAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits Limits
		times  int
		every  time.Duration
		path   string
		want   error // in the log; nil for a whole answer
	}{
		{"goes on", Limits{TimeoutMS: 1000}, 40, 50 * time.Millisecond, "/raw", nil},
		{"a byte at a time", Limits{TimeoutMS: 1000, StreamMS: 2500}, -1, 100 * time.Millisecond, "/raw", errLong},
		{"without a pause", Limits{TimeoutMS: 500, StreamMS: 1000}, -1, 0, "/raw", errLong},
		{"hangs", Limits{TimeoutMS: 1000}, 3, 50 * time.Millisecond, "/raw/hangs", errLate},
		{"may be as short as that", Limits{TimeoutMS: 60_000, StreamMS: 500}, 3, 50 * time.Millisecond, "/raw/hangs", errLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, tt.limits, events(tt.times, tt.every, "x", nil))
			got := send(t, s.outside, get(tt.path))
			switch {
			case got.status() != 200:
				t.Fatalf("%d, %v", got.status(), got.err)
			case tt.want == nil && (got.err != nil || len(got.text) != tt.times):
				t.Errorf("it has %d pieces, %v", len(got.text), got.err)
			case tt.want != nil && (!errors.Is(got.err, io.ErrUnexpectedEOF) || tt.times > 0 && len(got.text) != tt.times):
				t.Errorf("%d bytes, and it ends with %v", len(got.text), got.err)
			case tt.want != nil && !s.logs(errCutShort.Error()+": "+tt.want.Error()):
				t.Errorf("the log does not say %q: %s", tt.want, s.log)
			}
		})
	}
}

// On a connection that a stream was on the next request has its own time, and one to a service that hangs
// ends within it.
func TestAfterAStream(t *testing.T) {
	s := start(t, Limits{TimeoutMS: 1000}, func(c net.Conn) { events(30, 50*time.Millisecond, "x", nil)(c); io.Copy(io.Discard, c) })
	c := dial(t, s.outside)
	in := bufio.NewReader(c)
	io.WriteString(c, get("/raw"))
	if got := receive(t, in); got.err != nil || len(got.text) != 30 {
		t.Fatalf("%q, %v", got.text, got.err)
	}
	io.WriteString(c, get("/index.html"))
	if got := receive(t, in); got.text != "from static" {
		t.Fatalf("the next: %d %v", got.status(), got.err)
	}
	io.WriteString(c, get("/down"))
	if got := receive(t, in); got.status() != 503 {
		t.Errorf("and then: %d %v", got.status(), got.err)
	}
}

// A client that goes while nothing comes is noticed, and so is one that does not read.
func TestStreamOfNobody(t *testing.T) {
	for _, tt := range []struct {
		name  string
		piece string
		every time.Duration
		path  string
		leave bool
	}{
		{"goes", "x", 0, "/raw/hangs", true},
		{"does not read", strings.Repeat("x", pieceSize), 0, "/raw", false},
		{"reads a byte at a time", strings.Repeat("x", pieceSize), 0, "/raw", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan error, 1)
			times := -1
			if tt.leave {
				times = 1
			}
			s := start(t, Limits{TimeoutMS: 2000}, events(times, tt.every, tt.piece, ended))
			c, err := net.Dial("tcp", s.outside)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.(*net.TCPConn).SetReadBuffer(4096)
			io.WriteString(c, get(tt.path))
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if tt.leave {
				c.Close()
			}
			go func() {
				for tt.name == "reads a byte at a time" {
					if _, err := c.Read(make([]byte, 1)); err != nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			}()
			select {
			case <-ended:
			case <-time.After(time.Minute):
				t.Error("the service still works for it")
			}
		})
	}
}

// What a client that reads slowly may take grows with what it reads.
func TestSlowReaders(t *testing.T) {
	g := &Gateway{config: Config{Limits: Limits{TimeoutMS: 60_000, StreamMS: 3_600_000}}}
	began := time.Now()
	for _, tt := range []struct {
		name  string
		slow  time.Duration
		bytes int64
		want  error
	}{
		{"the timeout", time.Minute, 0, nil},
		{"more", time.Minute + 1, 0, errSlow},
		{"a piece in two minutes", 30 * time.Minute, 15 * pieceSize, errSlow},
		{"a line of 2 KiB a second", 30 * time.Minute, 30 * 60 * 2 << 10, nil},
	} {
		c := &client{g: g, entry: &entry{l: newCapped(nil, 4)}}
		c.x = exchange{start: began, end: began.Add(time.Hour), slow: tt.slow, bytes: tt.bytes}
		if got := c.mayGoOn(began.Add(tt.slow)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// While connections are scarce no answer holds one longer than the timeout; there is room again for others.
func TestStreamsYield(t *testing.T) {
	s := start(t, Limits{TimeoutMS: 1500, Connections: 8, PerPeer: 8}, events(-1, 50*time.Millisecond, "x", nil))
	var streams []*bufio.Reader
	open := func() {
		c := dial(t, s.outside)
		io.WriteString(c, get("/raw"))
		streams = append(streams, bufio.NewReader(c))
	}
	for range 4 {
		open()
	}
	time.Sleep(1600 * time.Millisecond)
	for i, in := range streams { // they are older than that, and there is room
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, res.Body, 20); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	for range 4 {
		open()
	}
	// All places are taken: who comes now is served nevertheless.
	if got := send(t, s.outside, get("/index.html")); got.text != "from static" {
		t.Errorf("somebody else gets %d, %v", got.status(), got.err)
	}
	if !s.logs(errYield.Error()) {
		t.Error("the log does not say why they ended")
	}
}

// A stream ends with the gateway, which waits for nobody for long.
func TestStreamEndsWithGateway(t *testing.T) {
	s := start(t, Limits{}, events(-1, 50*time.Millisecond, "x", nil))
	c := dial(t, s.outside)
	fmt.Fprint(c, get("/raw"))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	if _, err := io.Copy(io.Discard, res.Body); !errors.Is(err, io.ErrUnexpectedEOF) && !isReset(err) {
		t.Errorf("it ends with %v", err)
	}
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }
