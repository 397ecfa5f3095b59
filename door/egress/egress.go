// Package egress is how programs find the way out: it resolves names, and speaks
// with programs that want a proxy.
//
// It is an environment like any other. Its one way out leads to the resolvers;
// to where a program wants to go it opens nothing itself. The monitor makes every
// connection to it, and says in a line ahead what for:
//
//   - "COFFERDAM resolve NAME": one frame comes back, with the addresses
//     ([Resolver]).
//   - "COFFERDAM client N": a program's connection, on which it speaks HTTP
//     CONNECT or SOCKS5 ([readRequest]).
//   - "COFFERDAM remote N": belongs to the client of that number. On it the
//     endpoint that the program named is asked for, in one frame; if the monitor
//     grants it to that program, this connection leads there from then on.
//
// Goroutines: one per connection, and one more while bytes go both ways.
//
// Trusted: for the addresses of names, within what each grant lets a name lead
// to, and to see what passes through the proxy. It is confined like any
// environment and decides nothing. Broken, it could send one program's
// connection to where another may go that is connected through it at the time.
package egress

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"cofferdam/address"
	"cofferdam/wire"
)

// ConfigEnv is the environment variable that holds a [Config] in JSON.
const ConfigEnv = "COFFERDAM_EGRESS"

// Config is everything that the door is told. It holds nothing secret.
type Config struct {
	Port      int              `json:"port"`      // on 127.0.0.1, inside, where the monitor connects
	Resolvers []netip.AddrPort `json:"resolvers"` // as they are reached from inside, in the order to ask
}

const (
	maxConnections = 2048
	maxPreface     = 512
	headTime       = 10 * time.Second // for a program to say where it wants to go
	askTime        = 12 * time.Second // for the monitor to get there
	resolveTime    = 7 * time.Second
)

// Door serves the monitor. It is safe for concurrent use.
type Door struct {
	resolver Resolver
	pairs    pairs
	slots    chan struct{}
	log      *slog.Logger
}

// New returns a door that asks c's resolvers.
func New(c Config, log *slog.Logger) *Door {
	var d net.Dialer
	return &Door{
		resolver: Resolver{Servers: c.Resolvers, Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", to.String())
		}},
		slots: make(chan struct{}, maxConnections),
		log:   log,
	}
}

// Main is the role "egress" of the command: it takes its configuration from the
// variable [ConfigEnv], and serves on the loopback until ctx ends.
func Main(ctx context.Context, getenv func(string) string, stderr io.Writer) error {
	var c Config
	d := json.NewDecoder(strings.NewReader(getenv(ConfigEnv)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return fmt.Errorf("egress: %s: %w", ConfigEnv, err)
	}
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)))
	if err != nil {
		return fmt.Errorf("egress: %w", err)
	}
	return New(c, slog.New(slog.NewJSONHandler(stderr, nil))).Serve(ctx, l)
}

// Serve serves connections of l until ctx ends or l fails, and closes l.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			time.Sleep(50 * time.Millisecond) // no descriptors: that passes
			continue
		}
		select {
		case d.slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		go func() {
			defer func() { <-d.slots }()
			d.serve(ctx, c)
		}()
	}
}

func (d *Door) serve(ctx context.Context, c net.Conn) {
	c.SetReadDeadline(time.Now().Add(headTime))
	in := bufio.NewReaderSize(c, maxHead)
	words, err := readPreface(in)
	if err != nil {
		c.Close()
		return
	}
	if words[0] == "resolve" {
		defer c.Close()
		d.resolve(ctx, c, words[1])
		return
	}
	num, err := strconv.ParseUint(words[1], 10, 64)
	switch {
	case err != nil:
		c.Close()
	case words[0] == "remote":
		d.pairs.offer(num, c)
	case words[0] == "client":
		defer c.Close()
		if remote := d.pairs.take(num); remote != nil {
			defer remote.Close()
			d.client(c, in, remote)
		}
	default:
		c.Close()
	}
}

// readPreface reads the monitor's line: two words.
func readPreface(in *bufio.Reader) ([2]string, error) {
	line, err := in.ReadSlice('\n')
	if err != nil || len(line) > maxPreface {
		return [2]string{}, errPreface
	}
	words := strings.Split(strings.TrimSuffix(string(line), "\n"), " ")
	if len(words) != 3 || words[0] != "COFFERDAM" {
		return [2]string{}, errPreface
	}
	return [2]string{words[1], words[2]}, nil
}

var errPreface = errors.New("not a preface")

// resolve answers the monitor with one frame.
func (d *Door) resolve(ctx context.Context, c net.Conn, name string) {
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	f := wire.Frame{Header: wire.Header{Op: wire.OpReply}}
	a, err := d.resolver.Lookup(ctx, name)
	switch {
	case err == nil:
		f.Body = a.Append(nil)
	case errors.Is(err, ErrNoAddress):
		f.Code = wire.Failed
	default:
		f.Code = wire.Unavailable
		d.log.Warn("resolve", "name", name, "error", err.Error())
	}
	c.SetWriteDeadline(time.Now().Add(time.Second))
	c.Write(wire.AppendFrame(nil, &f))
}

// client finds out where a program wants to go, asks for it, and then passes
// bytes. Whatever the program said, if it named anything it is the monitor that
// says no, so that there is a record.
func (d *Door) client(c net.Conn, in *bufio.Reader, remote net.Conn) {
	c.SetDeadline(time.Now().Add(headTime))
	req, err := readRequest(c, in)
	if err != nil {
		return // it has its answer
	}
	code := ask(remote, req.endpoint)
	c.SetDeadline(time.Now().Add(headTime)) // for a program that does not read
	if _, err := c.Write(req.answer(code)); err != nil || code != wire.OK {
		return
	}
	c.SetDeadline(time.Time{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		pass(remote, in)
	}()
	pass(c, remote)
	<-done
}

// ask asks the monitor for the endpoint to. After wire.OK, and not a byte before,
// remote leads there.
func ask(remote net.Conn, to string) wire.Code {
	remote.SetDeadline(time.Now().Add(askTime))
	f := wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: 1}, NameBytes: []byte("open"), Body: []byte(to)}
	if _, err := remote.Write(wire.AppendFrame(nil, &f)); err != nil {
		return wire.Unavailable
	}
	// The answer is a header. What follows it is the other side's already.
	reply, err := wire.NewReader(io.LimitReader(remote, wire.HeaderSize)).Next()
	if err != nil || reply.Op != wire.OpReply {
		return wire.Unavailable
	}
	remote.SetDeadline(time.Time{})
	return reply.Code
}

// pass copies until src ends, and says so to dst. If it breaks, so does the
// other direction.
func pass(dst net.Conn, src io.Reader) {
	_, err := io.Copy(dst, src)
	if tcp, ok := dst.(*net.TCPConn); ok && err == nil {
		tcp.CloseWrite()
		return
	}
	dst.Close()
	if c, ok := src.(net.Conn); ok {
		c.Close()
	}
}

// spell writes what a program called a host and a port in the one way that a
// grant has it: small letters, no dot at the end, an address as such. What cannot
// be a host it puts in quotes, which no grant has.
func spell(host, port string) string {
	text := host
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" {
		if text = addr.Unmap().String(); strings.Contains(text, ":") {
			text = "[" + text + "]"
		}
	} else if lower := strings.TrimSuffix(lowered(host), "."); address.CheckName(lower) == nil {
		text = lower
	}
	to := text + ":" + port
	if _, err := address.ParseEndpoint(to); err != nil {
		const most = address.MaxName
		quoted := strconv.QuoteToASCII(host + ":" + port)
		return quoted[:min(len(quoted), most)]
	}
	return to
}

// lowered turns the letters A to Z, and no others: U+212A, the sign of the
// kelvin, is a k to strings.ToLower.
func lowered(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
