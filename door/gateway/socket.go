package gateway

import (
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"strings"
	"time"
)

// Web sockets (RFC 6455). A route says whether a request may become one. Then its connection carries bytes both ways
// that nobody looks at, until both ends have said all or nothing has come for too long; it counts as
// a connection, and as a request of its principal that goes on, all the time.

// protocol is the only one that a connection can be switched to.
const protocol = "websocket"

// wantsSocket tells whether the request asks for a web socket in the way that RFC 6455 writes.
func (r *request) wantsSocket() bool {
	return same(r.upgrade, protocol) && r.method == http.MethodGet && r.minor == 1 && r.length == 0 && !r.chunked && len(r.values("Sec-WebSocket-Key")) == 1
}

// ownOrigin tells whether the page that asks, if it is a page, is one of the same site. A browser shows cookies
// whoever's page asks, and lets that one read: for web sockets nobody else looks at this.
func (r *request) ownOrigin() bool {
	for _, origin := range r.values("Origin") {
		_, host, ok := strings.Cut(origin, "://")
		if !ok || !same(host, r.host) {
			return false
		}
	}
	return true
}

// switches tells whether the service has agreed to what was asked for.
func (c *client) switches() bool {
	keys, accepts := c.req.values("Sec-WebSocket-Key"), c.res.values("Sec-WebSocket-Accept")
	return same(c.res.upgrade, protocol) && !c.res.chunked && c.res.length <= 0 && len(keys) == 1 && len(accepts) == 1 && accepts[0] == accepted(keys[0])
}

// accepted is what proves that the service has read the key (RFC 6455 section 4.2.2).
func accepted(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// socket tells the client that the service has agreed, and moves bytes until the end.
func (c *client) socket() error {
	x, f := &c.x, c.far
	if err := c.clean(); err != nil {
		return err
	}
	x.last, c.res.close = true, true
	c.out = c.appendStatus(c.out[:0], http.StatusSwitchingProtocols)
	for _, one := range c.res.fields {
		c.out = appendField(c.out, one.name, one.value)
	}
	c.out = append(c.out, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"...)
	c.out = append(c.out, f.in.waiting()...)
	early := c.in.waiting() // said before it was known whether there would be a web socket
	x.status = http.StatusSwitchingProtocols
	if c.flush() != nil {
		return errGone
	}
	if len(early) > 0 {
		if _, err := f.conn.Write(early); err != nil {
			return err
		}
	}
	c.in.r, f.in.r = c.in.w, f.in.w
	c.in.release()
	f.in.release()
	c.out = nil
	c.tcp.SetDeadline(time.Time{})
	f.conn.SetDeadline(time.Time{})
	c.switched.Store(true)
	if c.entry.draining.Load() {
		return errEnded
	}
	p := pair{idle: c.g.config.Limits.idle()}
	err := p.run(c.tcp, f.tcp)
	x.bytes = p.out
	c.conn.Close()
	return err
}
