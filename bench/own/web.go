package own

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Site is the manifest of a gateway on ADDR and a service behind it.
const Site = `version: 1
name: bench-web
allow_degraded: [cgroup]
gateway:
  listen: ADDR
  routes: [{path: '/.*', to: site}]
services:
  site:
    runtime: host
    command: [PLAYER, web]
    files: [FILES]
    http: 8080
    limits: {memory: 256M, cpus: unlimited}
`

// page is what the backend answers.
var page = bytes.Repeat([]byte("All work and no play makes Jack a dull boy.\n"), 12)

// serveWeb is the backend: the same behind the gateway, behind its peers, and alone.
func serveWeb(l net.Listener) error {
	length := strconv.Itoa(len(page))
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", length)
		w.Write(page)
	}))
}

// Load asks addr n times over so many connections that are kept, and says how many
// answers came in a second; samples are in ms.
func (p Program) Load(addr, host string, conns, n int) (Reading, error) {
	return Read(p.Outside("web-load", addr, host, strconv.Itoa(conns), strconv.Itoa(n)))
}

// webLoad reads answers by hand: who asks shares the processors with who answers, and
// a client of the library would need more of them than the servers do.
func webLoad(addr, host string, conns, n int) (Reading, error) {
	request := []byte("GET /page HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
	type client struct {
		net.Conn
		in   *bufio.Reader
		body []byte
	}
	clients := make([]client, conns)
	for i := range clients {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return Reading{}, err
		}
		defer c.Close()
		clients[i] = client{c, bufio.NewReaderSize(c, 4096), make([]byte, len(page))}
	}
	ask := func(i int) error {
		c := &clients[i]
		if _, err := c.Write(request); err != nil {
			return err
		}
		length, err := readHead(c.in)
		if err != nil {
			return err
		}
		if length != len(page) {
			return fmt.Errorf("an answer of %d bytes, not %d", length, len(page))
		}
		if _, err := io.ReadFull(c.in, c.body); err != nil {
			return err
		}
		if !bytes.Equal(c.body, page) {
			return fmt.Errorf("another page came: %q", c.body)
		}
		return nil
	}
	if _, err := Rate(conns, n/10+conns, time.Millisecond, ask); err != nil {
		return Reading{}, err
	}
	return Rate(conns, n, time.Millisecond, ask)
}

// readHead reads the head of an answer that must be 200 and say how long its body is.
func readHead(in *bufio.Reader) (length int, err error) {
	length = -1
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch name, value, found := bytes.Cut(line, []byte(":")); {
		case first:
			if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
				return 0, fmt.Errorf("the answer is %q", line)
			}
		case len(line) == 0:
			if length < 0 {
				return 0, fmt.Errorf("an answer without a length")
			}
			return length, nil
		case found && strings.EqualFold(string(name), "Content-Length"):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
}
