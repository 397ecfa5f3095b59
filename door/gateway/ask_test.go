package gateway

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// askTime is more than anything here takes: who reaches it was not woken.
const askTime = 20 * time.Second

// asked is a connection, of which here asks and there answers.
type asked struct {
	here, there net.Conn
	raw         syscall.RawConn
	ask         ask
}

// overSockets runs a test over each kind of connection that there is to services.
func overSockets(t *testing.T, test func(t *testing.T, a *asked)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			at := "127.0.0.1:0"
			if network == "unix" {
				at = filepath.Join(t.TempDir(), "s")
			}
			l, err := net.Listen(network, at)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			a := new(asked)
			if a.here, err = net.Dial(network, l.Addr().String()); err != nil {
				t.Fatal(err)
			}
			defer a.here.Close()
			if a.there, err = l.Accept(); err != nil {
				t.Fatal(err)
			}
			defer a.there.Close()
			if a.raw, err = a.here.(syscall.Conn).SyscallConn(); err != nil {
				t.Fatal(err)
			}
			a.here.SetDeadline(time.Now().Add(askTime))
			a.there.SetDeadline(time.Now().Add(askTime))
			test(t, a)
		})
	}
}

// send asks, and reads the first of the answer.
func (a *asked) send(what string) (string, error) {
	a.ask.out = []byte(what)
	p := make([]byte, 64)
	n, err := a.ask.on(a.raw, p)
	return string(p[:n]), err
}

// settled waits until here has been told what there has done.
func (a *asked) settled(t *testing.T) {
	t.Helper()
	var err error = syscall.EAGAIN
	for began := time.Now(); err == syscall.EAGAIN; {
		if cerr := a.raw.Control(func(fd uintptr) { _, err = peekNow(fd) }); cerr != nil || time.Since(began) > askTime {
			t.Fatal("nothing has come: ", cerr)
		}
	}
}

// Nothing is sent to a service that has ended, or has said something, before it was asked.
func TestAskLooksFirst(t *testing.T) {
	for _, tt := range []struct {
		name string
		does func(c net.Conn)
	}{
		{"it has said something", func(c net.Conn) { io.WriteString(c, "x") }},
		{"it has closed", func(c net.Conn) { c.Close() }},
		{"it has ended its side", func(c net.Conn) { c.(interface{ CloseWrite() error }).CloseWrite() }},
		{"it has said something and closed", func(c net.Conn) { io.WriteString(c, "x"); c.Close() }},
		{"it has broken the connection", func(c net.Conn) {
			if c, ok := c.(*net.TCPConn); ok {
				c.SetLinger(0)
			}
			c.Close()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			overSockets(t, func(t *testing.T, a *asked) {
				tt.does(a.there)
				a.settled(t)
				if got, err := a.send("request"); err != errNoisy {
					t.Fatalf("the ask got %q, %v, want errNoisy", got, err)
				}
				a.here.(interface{ CloseWrite() error }).CloseWrite()
				if got, err := io.ReadAll(a.there); len(got) > 0 {
					t.Errorf("the service was sent %q, %v", got, err)
				}
			})
		})
	}
	overSockets(t, func(t *testing.T, a *asked) {
		a.here.Close()
		if got, err := a.send("request"); err != errNoisy {
			t.Errorf("closed on our side: %q, %v", got, err)
		}
	})
}

// Whatever becomes of a request ends the wait for its answer.
func TestAskIsWoken(t *testing.T) {
	for _, tt := range []struct {
		name string
		does func(a *asked)
		want func(got string, err error) bool
	}{
		{"an answer", func(a *asked) { io.WriteString(a.there, "answer") }, func(got string, err error) bool { return got == "answer" && err == nil }},
		{"more than is read", func(a *asked) { a.there.Write(make([]byte, 1000)) }, func(got string, err error) bool { return len(got) == 64 && err == nil }},
		{"the end", func(a *asked) { a.there.Close() }, func(got string, err error) bool { return got == "" && err == io.EOF }},
		{"the end of its side", func(a *asked) { a.there.(interface{ CloseWrite() error }).CloseWrite() }, func(got string, err error) bool { return err == io.EOF }},
		{"an answer and the end", func(a *asked) { io.WriteString(a.there, "answer"); a.there.Close() }, func(got string, err error) bool { return got == "answer" && err == nil }},
		{"a reset", func(a *asked) {
			if c, ok := a.there.(*net.TCPConn); ok {
				c.SetLinger(0)
			}
			a.there.Close()
		}, func(got string, err error) bool {
			return got == "" && (errors.Is(err, syscall.ECONNRESET) || err == io.EOF)
		}},
		{"a deadline", func(a *asked) { a.here.SetReadDeadline(time.Unix(1, 0)) }, func(got string, err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }},
		{"our own end", func(a *asked) { a.here.Close() }, func(got string, err error) bool { return errors.Is(err, net.ErrClosed) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, pause := range []time.Duration{0, 5 * time.Millisecond} { // about when the wait begins, and after that
				overSockets(t, func(t *testing.T, a *asked) {
					go func() {
						io.ReadFull(a.there, make([]byte, len("request")))
						time.Sleep(pause)
						tt.does(a)
					}()
					began := time.Now()
					if got, err := a.send("request"); !tt.want(got, err) || time.Since(began) >= askTime {
						t.Errorf("after %v the ask got %q, %v", pause, got, err)
					}
				})
			}
		})
	}
}

// Requests and answers back to back, which come in pieces at all moments: none is missed, none is another's.
func TestAskMissesNothing(t *testing.T) {
	overSockets(t, func(t *testing.T, a *asked) {
		const rounds = 20000
		go func() {
			p := make([]byte, 2)
			for {
				if _, err := io.ReadFull(a.there, p); err != nil {
					return
				}
				a.there.Write(p[:1])
				for range rand.IntN(200) {
				}
				if _, err := a.there.Write(p[1:]); err != nil {
					return
				}
			}
		}()
		rest := make([]byte, 2)
		for i := range rounds {
			want := string([]byte{byte(i), byte(i >> 8)})
			got, err := a.send(want)
			if err != nil {
				t.Fatalf("ask %d: %q, %v", i, got, err)
			}
			if len(got) < 2 {
				if _, err := io.ReadFull(a.here, rest[len(got):]); err != nil {
					t.Fatalf("the rest of answer %d: %v", i, err)
				}
				got += string(rest[len(got):])
			}
			if got != want {
				t.Fatalf("ask %d got %q, want %q", i, got, want)
			}
		}
	})
}

// What does not fit into the buffer of a socket is left to be sent, and nothing of it is sent twice.
func TestAskMoreThanFits(t *testing.T) {
	overSockets(t, func(t *testing.T, a *asked) {
		all := make([]byte, 32<<20)
		for i := range all {
			all[i] = byte(i * i >> 7)
		}
		a.ask.out = all
		if n, err := a.ask.on(a.raw, make([]byte, 64)); n != 0 || err != errRest {
			t.Fatalf("the ask got %d bytes, %v, want errRest", n, err)
		}
		rest := a.ask.out
		if len(rest) == 0 || len(rest) == len(all) {
			t.Fatalf("%d of %d bytes are left", len(rest), len(all))
		}
		go func() { a.here.Write(rest); a.here.Close() }()
		if got, err := io.ReadAll(a.there); err != nil || !bytes.Equal(got, all) {
			t.Errorf("%d bytes came of %d, or others: %v", len(got), len(all), err)
		}
	})
}

// An answer that comes after the deadline of the wait is there for who reads on.
func TestAskGoesOnAfterADeadline(t *testing.T) {
	overSockets(t, func(t *testing.T, a *asked) {
		a.here.SetReadDeadline(time.Now().Add(time.Millisecond))
		if got, err := a.send("request"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the ask got %q, %v", got, err)
		}
		if a.ask.out != nil {
			t.Fatal("it would be sent again")
		}
		io.WriteString(a.there, "answer")
		a.here.SetReadDeadline(time.Now().Add(askTime))
		p := make([]byte, 64)
		if n, err := a.here.Read(p); string(p[:n]) != "answer" {
			t.Errorf("then %q came, %v", p[:n], err)
		}
	})
}
