package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
)

// maxPreface is the longest preface, line feed included, in bytes.
const maxPreface = 128

// preface is what the monitor says about a connection between services, in one
// line: "COFFERDAM caller callee port\n".
type preface struct {
	caller, callee string
	port           int // of the callee
}

var errPreface = errors.New("not a preface")

// parsePreface accepts one way of writing a preface.
func parsePreface(line string) (preface, error) {
	words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if len(words) != 4 || words[0] != "COFFERDAM" || !isName(words[1]) || !isName(words[2]) {
		return preface{}, errPreface
	}
	port, err := strconv.ParseUint(words[3], 10, 16)
	if err != nil || port == 0 || strconv.FormatUint(port, 10) != words[3] {
		return preface{}, errPreface
	}
	if words[1] == callerOutside {
		return preface{}, errPreface // no service has this name
	}
	return preface{caller: words[1], callee: words[2], port: int(port)}, nil
}

// prefaceListener gives connections that begin with a preface.
type prefaceListener struct{ net.Listener }

// Accept implements [net.Listener].
func (l prefaceListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &prefaced{Conn: c, in: bufio.NewReaderSize(c, maxPreface)}, nil
}

// prefaced is a connection whose first Read takes the preface off, so that it
// happens in the connection's own goroutine and within the time that net/http
// gives a header. Only one goroutine reads a connection at a time.
type prefaced struct {
	net.Conn
	in     *bufio.Reader
	said   preface // empty until the preface was read
	failed bool
}

// Read implements [net.Conn]. To the server, a connection without a proper
// preface ends before its first byte: it has said nothing worth an answer.
func (c *prefaced) Read(p []byte) (int, error) {
	if c.failed {
		return 0, io.EOF
	}
	if c.said.caller == "" {
		line, err := c.in.ReadSlice('\n')
		if err == nil {
			c.said, err = parsePreface(string(line))
		}
		if err != nil {
			c.failed = true
			return 0, io.EOF
		}
	}
	return c.in.Read(p)
}

type prefaceKey struct{}

// withPreface is the ConnContext of the bridge.
func withPreface(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, prefaceKey{}, c)
}

// prefaceOf returns the preface of the connection that a request came on. There
// is one, or there would be no request.
func prefaceOf(ctx context.Context) preface {
	return ctx.Value(prefaceKey{}).(*prefaced).said
}
