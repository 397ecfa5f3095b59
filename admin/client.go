package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// ErrNotRunning says that no application listens there.
var ErrNotRunning = errors.New("not running")

// Client is one request under way.
type Client struct {
	nc  *net.UnixConn
	dec *json.Decoder
}

// Ask sends a request to the application that listens on path; streams go with
// an exec. Close the client to withdraw it.
func Ask(path string, req Request, streams ...*os.File) (*Client, error) {
	line, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	line = append(line, '\n')
	if len(line) > maxRequestBytes {
		return nil, fmt.Errorf("ask for %s: %w", req.Op, errTooLong)
	}
	nc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	var rights []byte
	if len(streams) > 0 {
		fds := make([]int, len(streams))
		for i, f := range streams {
			fds[i] = int(f.Fd())
		}
		rights = syscall.UnixRights(fds...)
	}
	// Who refuses us may be gone before we have asked; the refusal is there to read.
	if _, _, err := nc.WriteMsgUnix(line, rights, nil); err != nil && !errors.Is(err, syscall.EPIPE) {
		nc.Close()
		return nil, fmt.Errorf("ask: %w", err)
	}
	return &Client{nc: nc, dec: json.NewDecoder(nc)}, nil
}

// Timeout bounds how long the answer may take from now on: what is late is an error
// that wraps [os.ErrDeadlineExceeded].
func (c *Client) Timeout(d time.Duration) { c.nc.SetReadDeadline(time.Now().Add(d)) }

// Error is a refusal by the application, with the exit code that goes with it.
type Error struct {
	Message string
	Code    int
}

func (e *Error) Error() string { return e.Message }

// Next is the next response; io.EOF after the last one.
func (c *Client) Next() (Response, error) {
	var r Response
	if err := c.dec.Decode(&r); err != nil {
		return Response{}, err
	}
	if r.Error != "" {
		return Response{}, &Error{Message: r.Error, Code: r.Code}
	}
	return r, nil
}

// Close withdraws the request if it is not finished.
func (c *Client) Close() error { return c.nc.Close() }
