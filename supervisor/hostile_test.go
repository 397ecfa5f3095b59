package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/audit"
	"cofferdam/sdk"
	"cofferdam/wire"
)

// attacks are what a hostile program does to the monitor, with real frames on its real
// socket. Each says in a line how it was met.
var attacks = map[string]func() (string, error){
	"never reads": func() (string, error) {
		c, err := dialMonitor()
		if err != nil {
			return "", err
		}
		body := make([]byte, 512<<10)
		for id := uint64(1); id < 400; id++ {
			c.SetWriteDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Write(call(id, "server.echo", body)); errors.Is(err, os.ErrDeadlineExceeded) {
				return "made to wait", nil
			} else if err != nil {
				return "cut off", nil
			}
		}
		return "took all of it", nil
	},
	"one byte at a time": func() (string, error) {
		c, err := dialMonitor()
		if err != nil {
			return "", err
		}
		for n, b := range call(1, "server.echo", []byte("slow")) {
			pause := 10 * time.Millisecond
			if n < 2 {
				pause = time.Second
			}
			time.Sleep(pause)
			if _, err := c.Write([]byte{b}); err != nil {
				return "", err
			}
		}
		return answer(c)
	},
	"half frames on every connection": func() (string, error) {
		frame := call(1, "server.echo", []byte("never finished"))
		var held []net.Conn
		for n := range 200 {
			c, err := dialMonitor()
			if err != nil {
				return "", err
			}
			if _, err := c.Write(frame[:1+n%(len(frame)-1)]); err == nil {
				held = append(held, c)
			}
		}
		for last := 0; last != len(held); { // until a whole round has ended none of them
			last = len(held)
			held = slices.DeleteFunc(held, func(c net.Conn) bool {
				c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
				_, err := c.Read(make([]byte, 1))
				return !errors.Is(err, os.ErrDeadlineExceeded)
			})
		}
		return fmt.Sprintf("%d held, %d refused", len(held), 200-len(held)), nil
	},
	"a storm of connections": func() (string, error) {
		// What is not accepted yet waits in the listener's queue, and then at connect(2).
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
			c, err := dialMonitor()
			if err == nil {
				c.Close()
			}
		}
		return "over", nil
	},
	"frames that are none": func() (string, error) {
		good := call(1, "server.echo", []byte("x"))
		huge, deep := bytes.Clone(good), bytes.Clone(good)
		copy(huge, "\xff\xff\xff\x7f")
		deep[6], deep[7] = 0xff, 0xff // a name of 64 KiB in a frame of some bytes
		closed := 0
		for _, b := range [][]byte{huge, deep, bytes.Repeat([]byte{0xff}, 64<<10), []byte("GET / HTTP/1.1\r\n\r\n" + strings.Repeat(" ", 64))} {
			c, err := dialMonitor()
			if err != nil {
				return "", err
			}
			c.Write(b)
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.ReadAll(c); !errors.Is(err, os.ErrDeadlineExceeded) {
				closed++
			}
		}
		return fmt.Sprintf("%d of 4 ended", closed), nil
	},
	"sockets that linger": func() (string, error) {
		c, err := dialMonitor()
		if err != nil {
			return "", err
		}
		frame := call(1, "server.echo", []byte("slow"))
		refused := 0
		for n := range stickers {
			socket, err := lingers()
			if err != nil {
				return "", err
			}
			_, _, err = c.WriteMsgUnix(frame[n:n+1], unix.UnixRights(int(socket.Fd())), nil)
			if errors.Is(err, unix.EPERM) {
				refused++
				kept = append(kept, socket)
				_, err = c.Write(frame[n : n+1])
			} else {
				socket.Close() // and who drops it now waits until all is delivered
			}
			if err != nil {
				return "", err
			}
		}
		if _, err := c.Write(frame[stickers:]); err != nil {
			return "", err
		}
		got, err := answer(c)
		return fmt.Sprintf("%d refused, %s", refused, got), err
	},
	"a flood of refusals": func() (string, error) {
		c, err := sdk.Connect(context.Background())
		if err != nil {
			return "", err
		}
		denied := 0
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
			if _, err := c.Call(context.Background(), "nobody.secret", nil); errors.Is(err, sdk.ErrDenied) {
				denied++
			}
		}
		return fmt.Sprintf("denied %v", denied > 1000), nil
	},
	"forged handles": func() (string, error) {
		c, err := dialMonitor()
		if err != nil {
			return "", err
		}
		denied, id := 0, uint64(0)
		for _, h := range []uint64{0, 1, 2, 7, 4096, 1 << 32, 1<<64 - 1} {
			for _, op := range []wire.Op{wire.OpUnseal, wire.OpWait, wire.OpKill, wire.OpRevoke, wire.OpRecv, wire.OpSpawn, wire.OpDrop} {
				id++
				f := wire.Frame{Header: wire.Header{Op: op, ID: id}, Body: (&wire.Ask{Handles: []uint64{h}}).Append(nil, op)}
				if op == wire.OpSpawn {
					f.NameBytes, f.Body = []byte("box"), (&wire.Spawn{Handles: []uint64{h}}).Append(nil)
				}
				if _, err := c.Write(wire.AppendFrame(nil, &f)); err != nil {
					return "", err
				}
				b := make([]byte, wire.HeaderSize)
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.ReadFull(c, b); err != nil {
					return "", err
				}
				switch h, err := wire.ParseHeader(b); {
				case err != nil:
					return "", err
				case h.Size > 0:
					return fmt.Sprintf("%v of %d is explained", op, h), nil
				case h.Code == wire.Denied:
					denied++
				}
			}
		}
		return fmt.Sprintf("%d denied of %d, to drop is no matter", denied, id), nil
	},
	"thousands of delegations": func() (string, error) {
		c, err := sdk.Connect(context.Background())
		if err != nil {
			return "", err
		}
		made := 0
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
			if p, err := c.Delegate(context.Background(), sdk.MustFormula("mallory")); err == nil {
				made++
				if made%2 == 0 {
					if err := p.Revoke(context.Background()); err != nil {
						return "", err
					}
				}
			} else if !errors.Is(err, sdk.ErrBusy) {
				return "", err
			}
		}
		return fmt.Sprintf("made %v", made > 500), nil
	},
}

// stickers is how many sockets that linger are sent, and kept what is not to be closed.
const stickers = 8

var kept []any

// lingers is a TCP socket whose last descriptor is not closed before its peer has read all, which it never does.
func lingers() (*os.File, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	far, err := l.Accept()
	if err != nil {
		return nil, err
	}
	kept = append(kept, far)
	tcp := near.(*net.TCPConn)
	tcp.SetLinger(60)
	tcp.SetWriteBuffer(64 << 10)
	for tcp.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err == nil; {
		_, err = tcp.Write(make([]byte, 64<<10))
	}
	defer tcp.Close() // of two descriptors
	return tcp.File()
}

// lingeringRefused is what becomes of them.
func lingeringRefused(t *testing.T) string {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	if _, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSRIGHTS); err == unix.ENOPROTOOPT {
		return "0 refused, ok slow" // before Linux 6.16
	}
	return fmt.Sprintf("%d refused, ok slow", stickers)
}

func dialMonitor() (*net.UnixConn, error) {
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: os.Getenv(sdk.SocketVariable), Net: "unix"})
}

func call(id uint64, name string, body []byte) []byte {
	return wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: id, Timeout: 30 * time.Second}, NameBytes: []byte(name), Body: body})
}

// answer reads one small frame.
func answer(c *net.UnixConn) (string, error) {
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		return "", err
	}
	h, err := wire.ParseHeader(b[:n])
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%v %s", h.Code, b[n-4:n]), nil
}

// polite makes calls one after the other, and says how many had the right answer.
func polite(calls int) (string, error) {
	c, err := sdk.Connect(context.Background())
	if err != nil {
		return "", err
	}
	right := 0
	for n := range calls {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		want := fmt.Sprint("polite ", n)
		got, err := c.Call(ctx, "server.echo", []byte(want))
		cancel()
		if err != nil {
			return "", fmt.Errorf("call %d: %w", n, err)
		}
		if string(got) == want {
			right++
		}
	}
	return fmt.Sprintf("%d right", right), nil
}

const hostileApp = `
  hostile: {{program}deaf], stop_grace_period: 100ms, owns: mallory, uses: [{call: server.echo}, {spawn: box}]}
  polite: {{program}deaf], stop_grace_period: 100ms, uses: [{call: server.echo}]}
  server: {{program}serve-echo], provides: [{call: echo}]}
  box: {{program}nap], template: true}
principals: [mallory]
`

// Whatever a hostile program does to its socket, a neighbour's calls are answered
// meanwhile, and the log tells it without growing as the attacker likes.
func TestHostileProgram(t *testing.T) {
	for _, tt := range []struct {
		attack, want string
		records      int // of the attacker that may stand in the log
	}{
		{"never reads", "cut off", 500},
		{"one byte at a time", "ok slow", 10},
		{"half frames on every connection", "64 held, 136 refused", 210},
		// Beyond 1000 at first, one record each 10 ms: what was accepted, and no more.
		{"a storm of connections", "over", 1000 + 3*100 + 400},
		{"frames that are none", "4 of 4 ended", 20},
		{"sockets that linger", lingeringRefused(t), 10},
		{"a flood of refusals", "denied true", 1000 + 3*100 + 100},
		{"forged handles", "42 denied of 49, to drop is no matter", 60},
		{"thousands of delegations", "made true", 1000 + 3*100 + 100},
	} {
		t.Run(tt.attack, func(t *testing.T) {
			a := start(t, hostileApp)
			met := make(chan string, 1)
			go func() { met <- a.exec("hostile", "attack", tt.attack) }()
			said := ""
			for said == "" {
				if got := a.exec("polite", "polite", "200"); got != "200 right" {
					t.Errorf("meanwhile the polite one says %q", got)
				}
				select {
				case said = <-met:
				default:
				}
			}
			if said != tt.want {
				t.Errorf("the attacker says %q, want %q", said, tt.want)
			}
			if got := a.exec("polite", "polite", "200"); got != "200 right" {
				t.Errorf("afterwards the polite one says %q", got)
			}
			a.sup.Stop()
			of := map[string]int{}
			if err := audit.Scan(a.dirs.State, func(r audit.Record) error { of[r.Subject]++; return nil }); err != nil {
				t.Error(err)
			}
			if n := of["hostile"]; n == 0 || n > tt.records {
				t.Errorf("%d records of the attacker, want 1 to %d", n, tt.records)
			}
		})
	}
}

// What a service prints without end costs a bounded file.
func TestFloodOfLines(t *testing.T) {
	a := start(t, `
  loud: {{program}flood-lines], limits: {output: unlimited}, restart: "no"}
  polite: {{program}deaf], stop_grace_period: 100ms, uses: [{call: server.echo}]}
  server: {{program}serve-echo], provides: [{call: echo}]}
`)
	for range 5 {
		if got := a.exec("polite", "polite", "200"); got != "200 right" {
			t.Errorf("meanwhile the polite one says %q", got)
		}
	}
	total := int64(0)
	filepath.WalkDir(filepath.Join(a.dirs.State, "logs"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil
	})
	if total == 0 || total > 9<<20 {
		t.Errorf("the logs have %d bytes, want at most two files of 4 MiB", total)
	}
}
