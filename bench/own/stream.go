package own

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"cofferdam/sdk"
)

// Bulk measures n bytes from b to a of a [Pair] over one connection, in GB/s.
func (a *App) Bulk(n int) (Reading, error) { return a.Play("a", "bulk", "b:9000", strconv.Itoa(n)) }

// Ping measures n messages of 64 bytes there and back over one connection, in µs.
func (a *App) Ping(n int) (Reading, error) { return a.Play("a", "ping", "b:9001", strconv.Itoa(n)) }

// BulkHanded and PingHanded are the same over a connection of which the program has the socket.
func (a *App) BulkHanded(n int) (Reading, error) {
	return a.Play("a", "bulk-handed", "b:9000", strconv.Itoa(n))
}

func (a *App) PingHanded(n int) (Reading, error) {
	return a.Play("a", "ping-handed", "b:9001", strconv.Itoa(n))
}

// dialling is how a connection is made.
type dialling func(addr string) (net.Conn, error)

func byName(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }

// handed has the monitor make it and hand the socket over; anything else is an error.
func handed(ctx context.Context) dialling {
	return func(addr string) (net.Conn, error) {
		client, err := sdk.Connect(ctx)
		if err != nil {
			return nil, err
		}
		c, err := client.Dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		if _, ok := c.(*sdk.Conn); !ok {
			return nil, fmt.Errorf("a %T, want a socket of our own", c)
		}
		return c, nil
	}
}

// pattern is what is sent over and over, so that bytes that are lost or doubled show.
func pattern() []byte {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(i>>12 ^ i)
	}
	return b
}

const chunk = 128 << 10

// serveBulk sends each who connects as many bytes of the pattern as he asks for.
func serveBulk(l net.Listener) error {
	all := pattern()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			var want uint64
			if binary.Read(c, binary.LittleEndian, &want) != nil {
				return
			}
			for sent := uint64(0); sent < want; {
				at := sent % uint64(len(all))
				n, err := c.Write(all[at : at+min(chunk, want-sent)])
				if err != nil {
					return
				}
				sent += uint64(n)
			}
		}()
	}
}

func bulk(addr string, bytes int) (Reading, error) { return bulkBy(byName, addr, bytes) }

func bulkBy(dial dialling, addr string, bytes int) (Reading, error) {
	c, err := dial(addr)
	if err != nil {
		return Reading{}, err
	}
	defer c.Close()
	all, buf := pattern(), make([]byte, chunk)
	began := time.Now()
	if err := binary.Write(c, binary.LittleEndian, uint64(bytes)); err != nil {
		return Reading{}, err
	}
	total := 0
	for {
		n, err := c.Read(buf)
		if n > 0 && (buf[0] != all[total%len(all)] || buf[n-1] != all[(total+n-1)%len(all)]) {
			return Reading{}, fmt.Errorf("other bytes came after %d", total)
		}
		total += n
		if err == io.EOF {
			break
		}
		if err != nil {
			return Reading{}, err
		}
	}
	if total != bytes {
		return Reading{}, fmt.Errorf("%d bytes of %d arrived", total, bytes)
	}
	return Reading{Value: float64(total) / time.Since(began).Seconds() / 1e9}, nil
}

// servePings sends back what each who connects sends, 64 bytes at a time.
func servePings(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			echoAll(c, 64)
		}()
	}
}

func pings(addr string, n int) (Reading, error) { return pingsBy(byName, addr, n) }

func pingsBy(dial dialling, addr string, n int) (Reading, error) {
	c, err := dial(addr)
	if err != nil {
		return Reading{}, err
	}
	defer c.Close()
	return roundTrips(c, 64, n)
}

// Server is a role on the host that answers at an address.
type Server struct {
	Addr string
	cmd  *exec.Cmd
}

// Pid is its process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Stop ends it.
func (s *Server) Stop() { end(s.cmd) }

// Listening starts a role on the host that serves what it inherits, and says where.
func (p Program) Listening(role string) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	server := p.Outside(role)
	server.ExtraFiles = []*os.File{f}
	if err := server.Start(); err != nil {
		return nil, err
	}
	return &Server{Addr: l.Addr().String(), cmd: server}, nil
}

// end ends a process that does not end by itself.
func end(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}
