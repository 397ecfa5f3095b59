package sdk_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/monitor"
	"cofferdam/sdk"
	"cofferdam/wire"
)

// dialWorld is a monitor at which front may connect to bank, directly or not, and the
// listener that bank is.
type dialWorld struct {
	t       *testing.T
	m       *monitor.Monitor
	bank    net.Listener
	relayed string // where front's connections to bank by name arrive
	path    string // of front's socket
}

func newDialWorld(t *testing.T, direct bool) *dialWorld {
	t.Helper()
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit.jsonl"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	m, err := monitor.New(log, monitor.Policy{
		Services: []monitor.Service{{Name: "front"}, {Name: "localhost", Ports: []int{9000}}},
		Grants:   []monitor.Grant{{From: "front", Kind: monitor.KindConnect, To: "localhost:9000", Direct: direct, Rule: "test"}},
	}, &world{})
	if err != nil {
		t.Fatal(err)
	}
	w := &dialWorld{t: t, m: m, bank: listen(t)}
	admit := func(service string) *monitor.Env {
		e, err := m.Admit(wire.Identity{Service: service, Instance: service + "-1"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Remove(e) })
		return e
	}
	front, bank := admit("front"), admit("localhost")
	dial := func(ctx context.Context, port int) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", w.bank.Addr().String())
	}
	front.SendsCopies()
	bank.Hands(dial)
	bank.Listening(dial)
	byName := listen(t)
	go front.Relay(byName, "localhost", 9000)
	w.relayed = byName.Addr().String()
	w.path = filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go front.Attach(l, func(*os.File) (bool, error) { return true, nil })
	t.Setenv(sdk.SocketVariable, w.path)
	return w
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// echo answers one connection after the other, and says when each has ended.
func (w *dialWorld) echo() (ended chan string) {
	ended = make(chan string, 100)
	go func() {
		for {
			c, err := w.bank.Accept()
			if err != nil {
				return
			}
			go func() {
				_, err := io.Copy(c, c)
				c.Close()
				ended <- errText(err)
			}()
		}
	}()
	return ended
}

func errText(err error) string {
	if err != nil {
		return "reset"
	}
	return "end"
}

func TestDialDirect(t *testing.T) {
	w := newDialWorld(t, true)
	ended := w.echo()
	ctx := context.Background()
	c, err := sdk.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echoes := func(nc net.Conn, text string) {
		t.Helper()
		nc.SetDeadline(time.Now().Add(time.Minute))
		b := make([]byte, len(text))
		if _, err := io.WriteString(nc, text); err != nil {
			t.Error(err)
		} else if _, err := io.ReadFull(nc, b); err != nil || string(b) != text {
			t.Errorf("%q came back as %q, %v", text, b, err)
		}
	}
	var all []net.Conn
	for i := range 20 {
		nc, err := c.Dial(ctx, "localhost:9000")
		if err != nil {
			t.Fatal(err)
		}
		if _, direct := nc.(*sdk.Conn); !direct {
			t.Fatalf("a %T, want a socket of our own", nc)
		}
		echoes(nc, strconv.Itoa(i))
		all = append(all, nc)
	}
	for _, nc := range all[:10] {
		nc.Close()
		if err := nc.Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
		if got := <-ended; got != "end" {
			t.Errorf("the other end sees %s", got)
		}
	}
	all[10].(*sdk.Conn).Unanswered()
	if got := <-ended; got != "reset" {
		t.Errorf("the other end of one that was not answered sees %s", got)
	}
	if got := "still"; true {
		echoes(all[11], got)
	}
	if _, err := c.Dial(ctx, "nobody:1"); !errors.Is(err, sdk.ErrDenied) || !strings.Contains(err.Error(), "dial nobody:1") {
		t.Errorf("what is not granted: %v", err)
	}
	if _, err := c.Dial(ctx, ""); !errors.Is(err, sdk.ErrMalformed) {
		t.Errorf("no address: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if nc, err := c.Dial(canceled, "localhost:9000"); err == nil {
		nc.Close()
	} else if !errors.Is(err, sdk.ErrCanceled) && !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	// With the client all of them end.
	c.Close()
	for range 9 {
		<-ended
	}
	if _, err := c.Dial(ctx, "localhost:9000"); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("of a client that is closed: %v", err)
	}
}

// Where it is not to be had, the connection is made by the name.
func TestDialByName(t *testing.T) {
	w := newDialWorld(t, false)
	w.echo()
	c, err := sdk.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// There is nobody of that name and port here; what matters is that it is tried.
	var op *net.OpError
	if _, err := c.Dial(context.Background(), "localhost:9000"); err == nil || !errors.As(err, &op) || op.Op != "dial" {
		t.Errorf("not direct: %v", err)
	}
}

func TestDialPython(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3: ", err)
	}
	for _, direct := range []bool{true, false} {
		t.Run(strconv.FormatBool(direct), func(t *testing.T) {
			w := newDialWorld(t, direct)
			ended := w.echo()
			const program = `
import cofferdam, socket, sys
relayed = sys.argv[1].split(":")
create = socket.create_connection
socket.create_connection = lambda address, timeout: create((relayed[0], int(relayed[1])), timeout)
for i in range(3):
    with cofferdam.dial(("localhost", 9000), timeout=60) as s:
        s.sendall(b"hello")
        print(type(s).__name__, s.recv(9).decode())
try:
    cofferdam.dial(("nobody", 1))
except cofferdam.Denied as e:
    print("denied", e)
kept = cofferdam.dial(("localhost", 9000))
kept.sendall(b"x")
`
			cmd := exec.Command("python3", "-B", "-c", program, w.relayed)
			cmd.Dir = "python"
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			kind := map[bool]string{true: "Connection", false: "socket"}[direct]
			want := strings.Repeat(kind+" hello\n", 3)
			got := slices.Collect(strings.SplitAfterSeq(string(out), "denied"))
			if err != nil || got[0] != want+"denied" {
				t.Errorf("%v: %s", err, out)
			}
			for range 4 { // the last one with its process
				select {
				case <-ended:
				case <-time.After(time.Minute):
					t.Fatal("a connection does not end")
				}
			}
		})
	}
}
