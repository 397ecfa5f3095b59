// Package isabelletest talks to an Isabelle server, or to what says that it is one,
// and holds it to what the real one would answer ([Conforms]). It has its own idea of
// how messages are framed, made from the description of the protocol and not
// from the code of the other side.
//
// Trusted: no. It is for tests.
package isabelletest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long a client waits for anything.
const patience = time.Minute

// Client is one connection. Its methods end the test if what comes is not what they are for.
type Client struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

// Connect connects and says nothing.
func Connect(t testing.TB, address string) *Client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &Client{t, conn, bufio.NewReader(conn)}
}

// Login connects with a password, which must be right.
func Login(t testing.TB, address, password string) *Client {
	t.Helper()
	c := Connect(t, address)
	c.Raw(password + "\n")
	if line := c.Line(); !strings.HasPrefix(line, "OK {") {
		t.Fatalf("the password was answered by %q", line)
	}
	return c
}

// TryLogin is Login for any goroutine, and for those who may be turned away.
func TryLogin(t testing.TB, address, password string) (*Client, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	return TryPassword(t, conn, password)
}

// TryPassword is TryLogin over a connection that there is.
func TryPassword(t testing.TB, conn net.Conn, password string) (*Client, error) {
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	c := &Client{t, conn, bufio.NewReader(conn)}
	_, err := io.WriteString(conn, password+"\n")
	if err == nil {
		var r Reply
		if r, err = c.TryNext(); err == nil && r.Kind != "OK" {
			err = fmt.Errorf("the password was answered by %s", r.Kind)
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// Close leaves.
func (c *Client) Close() { c.conn.Close() }

// Raw sends bytes.
func (c *Client) Raw(text string) {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatalf("sending %.60q: %v", text, err)
	}
}

// Line reads one line.
func (c *Client) Line() string {
	c.t.Helper()
	line, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatalf("reading a line: %v after %q", err, line)
	}
	return strings.TrimSuffix(line, "\n")
}

// Ended reports whether the other side has closed, without another byte.
func (c *Client) Ended() bool {
	_, err := c.in.ReadByte()
	return err != nil && !isTimeout(err)
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}

// Receive reads a message and how it was framed: whole, as bytes.
func (c *Client) Receive() (message, frame string, err error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", line, err
	}
	digits := strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	n, notNumber := strconv.ParseInt(digits, 10, 64)
	if notNumber != nil || strings.Trim(digits, "0123456789") != "" {
		return digits, line, nil
	}
	block := make([]byte, n)
	if _, err := io.ReadFull(c.in, block); err != nil {
		return "", line, err
	}
	return strings.TrimSuffix(string(block), "\n"), line + string(block), nil
}

// Reply is a message of the server.
type Reply struct {
	Kind string // OK, ERROR, FINISHED, FAILED, NOTE
	Text string // its argument, in JSON
}

// Get is the field of a reply, nil if there is none. A path goes down: "errors.0.message".
func (r Reply) Get(path string) any {
	var v any
	if json.Unmarshal([]byte(r.Text), &v) != nil {
		return nil
	}
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

// String is the field as text.
func (r Reply) String(path string) string { return fmt.Sprint(r.Get(path)) }

// Next is the next reply.
func (c *Client) Next() Reply {
	c.t.Helper()
	r, err := c.TryNext()
	if err != nil {
		c.t.Fatalf("waiting for a reply: %v", err)
	}
	return r
}

// TryNext is Next for any goroutine, and for those who expect to be cut off.
func (c *Client) TryNext() (Reply, error) {
	message, _, err := c.Receive()
	kind, text, _ := strings.Cut(message, " ")
	return Reply{kind, text}, err
}

// Do sends a command and returns its answer, which comes at once. Notes before it are passed over.
func (c *Client) Do(name string, argument any) Reply {
	c.t.Helper()
	c.Send(name, argument)
	for {
		if r := c.Next(); r.Kind != "NOTE" {
			return r
		}
	}
}

// Send sends a command. Its argument becomes JSON; a nil one is none.
func (c *Client) Send(name string, argument any) {
	c.t.Helper()
	text := name
	if argument != nil {
		b, err := json.Marshal(argument)
		if err != nil {
			c.t.Fatal(err)
		}
		text += " " + string(b)
	}
	c.Raw(text + "\n")
}

// Task sends a command that takes its time, and returns how it ended: FINISHED or FAILED,
// or ERROR if it was not begun. Notes come with it.
func (c *Client) Task(name string, argument any) (end Reply, notes []Reply) {
	c.t.Helper()
	begun := c.Do(name, argument)
	if begun.Kind != "OK" {
		return begun, nil
	}
	return c.Wait(begun.String("task"))
}

// TryTask is Task for any goroutine, and for those who expect to be cut off.
func (c *Client) TryTask(name string, argument any) (end Reply, notes []Reply, err error) {
	text, err := json.Marshal(argument)
	if err != nil {
		return end, nil, err
	}
	c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c.conn, "%s %s\n", name, text); err != nil {
		return end, nil, err
	}
	task := ""
	for {
		r, err := c.TryNext()
		switch {
		case err != nil:
			return r, notes, err
		case r.Kind == "NOTE":
			c.conn.SetDeadline(time.Now().Add(patience))
			notes = append(notes, r)
		case r.Kind == "ERROR" && task == "":
			return r, notes, nil
		case r.Kind == "OK" && task == "":
			task = r.String("task")
		case r.String("task") == task:
			return r, notes, nil
		}
	}
}

// Wait is for the end of a task.
func (c *Client) Wait(task string) (end Reply, notes []Reply) {
	c.t.Helper()
	for {
		c.conn.SetDeadline(time.Now().Add(patience))
		r := c.Next()
		switch {
		case r.Kind == "NOTE":
			notes = append(notes, r)
		case r.String("task") == task:
			return r, notes
		}
	}
}

// Start starts a session and returns its id and directory.
func (c *Client) Start(session string) (id, dir string) {
	c.t.Helper()
	end, _ := c.Task("session_start", Arg{"session": session})
	if end.Kind != "FINISHED" {
		c.t.Fatalf("session_start: %s %s", end.Kind, end.Text)
	}
	return end.String("session_id"), end.String("tmp_dir")
}

// Arg is the argument of a command.
type Arg = map[string]any
