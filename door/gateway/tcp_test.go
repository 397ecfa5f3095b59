package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// behind is a service on a port of its own that does with each connection what it is told.
func behind(t *testing.T, serve func(*net.TCPConn)) (port int) {
	t.Helper()
	l := listen(t)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// door opens one that leads to a port of this host, and returns its address and the log.
func door(t *testing.T, d TCP) (at string, log *syncBuffer, end func()) {
	t.Helper()
	d.To = "localhost"
	log = &syncBuffer{}
	g, err := New(Config{TCP: []TCP{d}}, log)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() { g.Serve(ctx, nil, nil, l); close(served) }()
	end = sync.OnceFunc(func() {
		cancel()
		<-served
	})
	t.Cleanup(end)
	return l.Addr().String(), log, end
}

func dialTCP(t *testing.T, at string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func echo(c *net.TCPConn) { io.Copy(c, c) }

// logged waits for a line of the log that has all of that.
func logged(t *testing.T, log *syncBuffer, parts ...string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	lines:
		for line := range strings.Lines(log.String()) {
			for _, part := range parts {
				if !strings.Contains(line, part) {
					continue lines
				}
			}
			return
		}
	}
	t.Errorf("no line of the log has all of %q:\n%s", parts, log)
}

// TestTCPPassesEverything: what comes out is what went in, both ways, however much
// and of whatever kind, and each end hears of the other's.
func TestTCPPassesEverything(t *testing.T) {
	at, log, _ := door(t, TCP{Port: behind(t, echo)})
	sent := bytes.Repeat([]byte("\x00\xffGET / HTTP/1.1\r\n\r\nCOFFERDAM for - 0\n"), 200_000)
	c := dialTCP(t, at)
	go func() {
		c.Write(sent)
		c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("of %d bytes there came back %d, %v", len(sent), len(got), err)
	}
	logged(t, log, `"msg":"connection"`, `"service":"localhost"`, fmt.Sprintf(`"in":%d,"out":%d`, len(sent), len(sent)))
	if strings.Contains(log.String(), `"error"`) {
		t.Errorf("an error was logged: %s", log)
	}
}

// TestTCPHalfClosed: one that has said all hears the answer still, in both directions.
func TestTCPHalfClosed(t *testing.T) {
	t.Run("the client has said all", func(t *testing.T) {
		at, _, _ := door(t, TCP{Port: behind(t, func(c *net.TCPConn) {
			asked, _ := io.ReadAll(c) // ends with the client's half close alone
			time.Sleep(20 * time.Millisecond)
			fmt.Fprintf(c, "heard %q", asked)
		})})
		c := dialTCP(t, at)
		io.WriteString(c, "a question")
		c.CloseWrite()
		if got, err := io.ReadAll(c); string(got) != `heard "a question"` {
			t.Errorf("answered %q, %v", got, err)
		}
	})
	t.Run("the service has said all", func(t *testing.T) {
		heard := make(chan string, 1)
		at, _, _ := door(t, TCP{Port: behind(t, func(c *net.TCPConn) {
			io.WriteString(c, "hello")
			c.CloseWrite()
			rest, _ := io.ReadAll(c)
			heard <- string(rest)
		})})
		c := dialTCP(t, at)
		if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
			t.Errorf("it said %q, %v", got, err)
		}
		io.WriteString(c, "still here")
		c.CloseWrite()
		if got := <-heard; got != "still here" {
			t.Errorf("the service heard %q after it had said all", got)
		}
	})
}

// TestTCPResets: when one end breaks off, the other hears of it.
func TestTCPResets(t *testing.T) {
	ended := make(chan error, 1)
	at, _, _ := door(t, TCP{Port: behind(t, func(c *net.TCPConn) {
		io.WriteString(c, "x")
		_, err := io.Copy(io.Discard, c)
		ended <- err
	})})
	c := dialTCP(t, at)
	io.ReadFull(c, make([]byte, 1))
	c.SetLinger(0)
	c.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the service never heard that the client had reset the connection")
	}

	at, _, _ = door(t, TCP{Port: behind(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.SetLinger(0)
	})})
	c = dialTCP(t, at)
	io.WriteString(c, "x")
	if _, err := io.ReadAll(c); errors.Is(err, syscall.ETIMEDOUT) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the client was not told that the service had reset the connection: %v", err)
	}
}

// TestTCPWaitsForSlowReaders: what one end does not take, the other is not asked for.
func TestTCPWaitsForSlowReaders(t *testing.T) {
	const size = 64 << 20
	written := make(chan int, 1)
	stuck := make(chan struct{})
	at, log, end := door(t, TCP{Port: behind(t, func(c *net.TCPConn) {
		n := 0
		for n < size {
			c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			m, err := c.Write(make([]byte, 1<<20))
			if n += m; err != nil {
				break
			}
		}
		written <- n
		<-stuck
	})})
	c := dialTCP(t, at)
	if n := <-written; n >= size {
		t.Errorf("%d bytes went to a client that reads none", n)
	}
	close(stuck)
	end()
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the gateway had ended: %v", err)
	}
	logged(t, log, `"msg":"connection"`)
}

// TestTCPCaps: one address has no more than its share, and all together not more
// than there is; whoever is over either hurts nobody else.
func TestTCPCaps(t *testing.T) {
	d := TCP{Port: behind(t, echo), Connections: 4, PerPeer: 2}
	at, log, _ := door(t, d)
	works := func(c *net.TCPConn) bool {
		io.WriteString(c, "x")
		_, err := io.ReadFull(c, make([]byte, 1))
		return err == nil
	}
	from := func(addr string) *net.TCPConn {
		t.Helper()
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}).Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		t.Cleanup(func() { c.Close() })
		return c.(*net.TCPConn)
	}
	first, second := from("127.0.0.2"), from("127.0.0.2")
	if !works(first) || !works(second) {
		t.Error("two from one address do not work")
	}
	for range 20 {
		if works(from("127.0.0.2")) {
			t.Fatal("a third one from one address works")
		}
	}
	logged(t, log, "its address has as many as it may have")
	third, fourth := from("127.0.0.3"), from("127.0.0.4")
	if !works(third) || !works(fourth) {
		t.Error("the flood of one address is felt by others")
	}
	fifth := from("127.0.0.5")
	fifth.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if works(fifth) {
		t.Error("a fifth one was led on at once")
	}
	first.Close() // room for it
	fifth.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(fifth, make([]byte, 1)); err != nil {
		t.Errorf("the one that waited: %v", err)
	}
	second.Close()
	if !works(from("127.0.0.2")) {
		t.Error("an address whose connections have ended may have none")
	}
}

// TestTCPIdle: a connection over which nothing comes ends, and one does not over which
// a byte comes now and then, in whichever direction.
func TestTCPIdle(t *testing.T) {
	const idle = 400 * time.Millisecond
	at, log, _ := door(t, TCP{Port: behind(t, echo), IdleMS: idle.Milliseconds()})
	c := dialTCP(t, at)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("an idle connection said something")
	}
	logged(t, log, "nothing came for too long")

	at, _, _ = door(t, TCP{Port: behind(t, func(c *net.TCPConn) {
		for range 8 { // longer than idle in all, and the client says nothing
			time.Sleep(idle / 4)
			io.WriteString(c, ".")
		}
	}), IdleMS: idle.Milliseconds()})
	if got, err := io.ReadAll(dialTCP(t, at)); string(got) != "........" {
		t.Errorf("one that is spoken to got %q, %v", got, err)
	}
}

// TestTCPMany: many at a time, of which some never read and some never write.
func TestTCPMany(t *testing.T) {
	at, _, end := door(t, TCP{Port: behind(t, echo), Connections: 300, PerPeer: 300})
	var all sync.WaitGroup
	for i := range 200 {
		c := dialTCP(t, at)
		switch i % 4 {
		case 0: // says nothing
		case 1: // reads nothing
			go io.Copy(c, neverEnding{})
		default:
			all.Go(func() {
				text := strings.Repeat(fmt.Sprint(i, " "), 1000)
				go io.WriteString(c, text)
				got := make([]byte, len(text))
				if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
					t.Errorf("connection %d: %d bytes, %v", i, len(got), err)
				}
			})
		}
	}
	all.Wait()
	began := time.Now()
	end()
	if took := time.Since(began); took > drainTime {
		t.Errorf("the gateway took %v to end", took)
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// TestTCPWithoutAService: who cannot be led on is not kept waiting.
func TestTCPWithoutAService(t *testing.T) {
	l := listen(t)
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	at, log, _ := door(t, TCP{Port: port})
	if _, err := io.ReadAll(dialTCP(t, at)); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
	logged(t, log, "connection refused")
}

// TestTCPSaysNobody: where it makes a difference, the connection begins with the
// line that says that nobody was recognised, and by which door.
func TestTCPSaysNobody(t *testing.T) {
	port := behind(t, echo)
	g, err := New(Config{Says: true, Services: map[string]int{"a": 80}, Routes: []Route{{Path: "/", To: "a"}}, TCP: []TCP{{Number: 1, To: "localhost", Port: port}}}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go g.Serve(ctx, nil, nil, l)
	c := dialTCP(t, l.Addr().String())
	io.WriteString(c, "COFFERDAM for 616c696365 0\n")
	c.CloseWrite()
	want := "COFFERDAM for - 1\nCOFFERDAM for 616c696365 0\n"
	if got, err := io.ReadAll(c); string(got) != want {
		t.Errorf("the service got %q, %v; want %q", got, err, want)
	}
}

func TestTCPConfig(t *testing.T) {
	for _, d := range []TCP{{To: "a"}, {To: "A", Port: 1}, {To: "gateway", Port: 1}, {To: "a", Port: 65536}, {To: "a", Port: 1, Connections: -1}, {To: "a", Port: 1, PerPeer: -1}, {To: "a", Port: 1, IdleMS: -1}, {To: "a", Port: 1, IdleMS: 1 << 62}} {
		if _, err := New(Config{TCP: []TCP{d}}, io.Discard); err == nil {
			t.Errorf("%+v is accepted", d)
		}
	}
}
