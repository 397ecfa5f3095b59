package gateway

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// maxPreface is the longest preface, line feed included, in bytes.
const maxPreface = 128 + 2*maxPrincipal

// preface is what the monitor says about a connection between services, in one
// line: "COFFERDAM caller callee port\n" or, where the gateway has to say on whose
// behalf it connects, "COFFERDAM caller callee port number principal\n".
type preface struct {
	caller, callee string
	port           int    // of the callee
	number         uint64 // of the connection; 0 for none
	principal      string // for whom the caller runs, "" for nobody
}

var errPreface = errors.New("not a preface")

// parsePreface accepts one way of writing a preface.
func parsePreface(line string) (preface, error) {
	words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if len(words) != 4 && len(words) != 6 || words[0] != "COFFERDAM" || !isName(words[1]) || !isName(words[2]) {
		return preface{}, errPreface
	}
	port, err := strconv.ParseUint(words[3], 10, 16)
	if err != nil || port == 0 || strconv.FormatUint(port, 10) != words[3] {
		return preface{}, errPreface
	}
	if words[1] == callerOutside {
		return preface{}, errPreface // no service has this name
	}
	p := preface{caller: words[1], callee: words[2], port: int(port)}
	if len(words) == 4 {
		return p, nil
	}
	p.number, err = strconv.ParseUint(words[4], 10, 64)
	if err != nil || p.number == 0 || strconv.FormatUint(p.number, 10) != words[4] {
		return preface{}, errPreface
	}
	if p.principal, err = parsePrincipal(words[5]); err != nil {
		return preface{}, err
	}
	return p, nil
}

// nobody stands for the name of nobody in a line.
const nobody = "-"

// parsePrincipal accepts one way of writing a name.
func parsePrincipal(word string) (string, error) {
	if word == nobody {
		return "", nil
	}
	name, err := hex.DecodeString(word)
	if err != nil || len(name) == 0 || len(name) > maxPrincipal || !utf8.Valid(name) || hex.EncodeToString(name) != word {
		return "", errPreface
	}
	return string(name), nil
}

// writePrincipal is a name as parsePrincipal reads it.
func writePrincipal(name string) string {
	if name == "" {
		return nobody
	}
	return hex.EncodeToString([]byte(name))
}

// prefaceListener gives connections that begin with a preface.
type prefaceListener struct {
	net.Listener
	callers *tally // connections of each service, or of each principal that it runs for
}

// Accept implements [net.Listener].
func (l prefaceListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &prefaced{Conn: c, in: bufio.NewReaderSize(c, maxPreface), callers: l.callers}, nil
}

// prefaced is a connection whose first Read takes the preface off, so that it
// happens in the connection's own goroutine and within the time that net/http
// gives a header. Only one goroutine reads a connection at a time.
type prefaced struct {
	net.Conn
	in     *bufio.Reader
	said   preface // empty until the preface was read
	failed bool

	callers *tally
	left    sync.Once
	mu      sync.Mutex
	counted bool // guarded by mu, as is closed
	closed  bool
}

// who is whom a connection counts for.
func (p preface) who() string { return p.caller + " " + p.principal }

// Close implements [net.Conn].
func (c *prefaced) Close() error {
	c.left.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.closed = true; c.counted {
			c.callers.end(c.said.who())
		}
	})
	return c.Conn.Close()
}

// enter counts the connection, if its caller may have one more.
func (c *prefaced) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counted = !c.closed && c.callers.begin(c.said.who())
	return c.counted
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
		if err == nil && !c.enter() {
			io.WriteString(c.Conn, crowded)
			err = errPeerCrowded
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
