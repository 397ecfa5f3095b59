package gateway

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// errUnavailable is the bare 503 with which the monitor, which speaks no HTTP but
// these bytes, answers for a service that is down or broken.
var errUnavailable = errors.New("the service is not available")

// relay gives the client what the service answers, whose head was read.
func (c *client) relay() error {
	x, res, f := &c.x, &c.res, c.far
	none := c.req.method == http.MethodHead || res.status == http.StatusNoContent || res.status == http.StatusNotModified
	if res.status == http.StatusServiceUnavailable && res.length == 0 {
		return errUnavailable
	}
	if res.status == http.StatusSwitchingProtocols {
		return c.socket()
	}
	if err := c.clean(); err != nil {
		return err
	}
	if !c.sent() {
		x.last = true // it will not be read to its end
	}
	b := newBody(&f.in, &res.framing, -1)
	if none {
		b.ended = true
	} else if !res.chunked && res.length < 0 {
		res.close = true // it ends where the connection does
	}
	chunked := !b.ended && res.length < 0
	if chunked && c.req.minor == 0 {
		chunked, x.last = false, true
	}
	c.out = c.appendStatus(c.out[:0], res.status)
	for _, one := range res.fields {
		c.out = appendField(c.out, one.name, one.value)
	}
	switch {
	case chunked:
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	case res.length >= 0 && res.status != http.StatusNoContent:
		c.out = append(strconv.AppendInt(append(c.out, "Content-Length: "...), res.length, 10), "\r\n"...)
	}
	c.out = c.appendEnd(c.out)
	x.status = res.status
	if !b.ended {
		c.begins()
	}
	for {
		// What is here already goes out together with what was written before it.
		for !b.ended && b.here() && len(c.out) < pieceSize {
			piece, err := b.next()
			if err != nil {
				if !b.ended {
					c.flush()
					return err
				}
				break
			}
			if x.bytes += int64(len(piece)); chunked {
				c.out = frame(c.out, piece)
			} else {
				c.out = append(c.out, piece...)
			}
		}
		if b.ended && chunked {
			c.out = append(c.out, lastChunk...)
		}
		if c.flush() != nil {
			return errGone
		}
		if b.ended {
			return nil
		}
		if b.here() {
			continue
		}
		if err := f.in.fill(); err != nil {
			if b.left >= 0 || b.chunked || err != io.EOF {
				return cutShort(err)
			}
			b.ended = true
		}
	}
}

// flush writes what there is to be written.
func (c *client) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.x.sent = true
	err := c.write(c.out)
	c.out = c.out[:0]
	return err
}

// clean takes out of the head of an answer what its client is not to see.
func (c *client) clean() error {
	x, res := &c.x, &c.res
	for i := 0; i < len(res.fields); {
		if one := &res.fields[i]; kindOf(one.name) == isOurs || res.lists(one.name) {
			res.fields = append(res.fields[:i], res.fields[i+1:]...)
			continue
		}
		i++
	}
	if x.hidden != "" {
		res.keepCookie(x.hidden)
	}
	if x.secret {
		return res.seal()
	}
	return nil
}

// appendStatus writes the first line of an answer, and what each of ours has. What a service
// says in words is not passed on.
func (c *client) appendStatus(b []byte, status int) []byte {
	if c.req.minor == 0 && c.req.method != "" {
		b = append(b, "HTTP/1.0 "...)
	} else {
		b = append(b, "HTTP/1.1 "...)
	}
	b = append(strconv.AppendInt(b, int64(status), 10), ' ')
	b = append(append(b, http.StatusText(status)...), "\r\n"...)
	return appendField(b, headerID, c.x.id)
}

// appendEnd ends a head.
func (c *client) appendEnd(b []byte) []byte {
	if c.x.last || c.entry.draining.Load() {
		c.x.last = true
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}

// page answers with a status, a sentence and the id. The id is the gateway's own and
// needs no escaping.
func (c *client) page(status int, extra ...field) {
	x := &c.x
	title := strconv.Itoa(status) + " " + http.StatusText(status)
	body := "<!doctype html>\n<meta charset=utf-8>\n<title>" + title + "</title>\n<h1>" + title + "</h1>\n<p>" + sentences[status] +
		"\n<p>Request " + x.id + "\n"
	switch status {
	case http.StatusMethodNotAllowed: // after CONNECT the client may send anything
		extra = append(extra, field{"Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"})
		x.last, x.unread = true, true
	case http.StatusHTTPVersionNotSupported, http.StatusRequestEntityTooLarge, http.StatusRequestTimeout:
		x.last = true
	}
	c.out = c.appendStatus(c.out[:0], status)
	c.out = appendField(c.out, "Date", time.Now().UTC().Format(http.TimeFormat))
	c.out = appendField(c.out, "Content-Type", "text/html; charset=utf-8")
	c.out = appendField(c.out, "Content-Length", strconv.Itoa(len(body)))
	c.out = appendField(c.out, "Cache-Control", "no-store")
	c.out = appendField(c.out, "X-Content-Type-Options", "nosniff")
	for _, one := range extra {
		c.out = appendField(c.out, one.name, one.value)
	}
	c.out = c.appendEnd(c.out)
	if c.req.method != http.MethodHead {
		c.out = append(c.out, body...)
		x.bytes = int64(len(body))
	}
	x.status = status
	if c.flush() != nil {
		x.last = true
	}
}

// sentences is all that people are told. What happened in detail is in the log,
// under the same id: names, addresses and paths of the inside stay there.
var sentences = map[int]string{
	http.StatusBadRequest:                  "The request could not be understood.",
	http.StatusSeeOther:                    "Please log in first.",
	http.StatusForbidden:                   "You may not see this.",
	http.StatusNotFound:                    "There is nothing at this address.",
	http.StatusMethodNotAllowed:            "This method is not available here.",
	http.StatusRequestTimeout:              "The request took too long to arrive.",
	http.StatusRequestEntityTooLarge:       "The request is too large.",
	http.StatusExpectationFailed:           "What the request expects is not available here.",
	http.StatusTooManyRequests:             "There were too many requests. Please try again in a moment.",
	http.StatusRequestURITooLong:           "The address is too long.",
	http.StatusRequestHeaderFieldsTooLarge: "The head of the request is too large.",
	http.StatusNotImplemented:              "The request could not be understood.",
	http.StatusBadGateway:                  "The service ended, or failed, while it was at the request. What was asked for may have been done, or not.",
	http.StatusServiceUnavailable:          "The service is not available at the moment. Nothing was done. Please try again later.",
	http.StatusGatewayTimeout:              "The service took too long to answer. What was asked for may have been done, or not.",
	http.StatusHTTPVersionNotSupported:     "This version of HTTP is not available here.",
}

// same tells whether two names of a protocol are one. They are compared without regard to letters.
func same(a, b string) bool { return strings.EqualFold(a, b) }
