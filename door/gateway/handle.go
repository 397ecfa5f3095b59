package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"cofferdam/sdk"
)

// maxURI is the longest request target that is looked at, in bytes.
const maxURI = 8 << 10

// exchange is one request on its way through.
type exchange struct {
	id        string
	caller    string // as the service is told
	principal string // the same; "" for nobody
	service   string // "" as long as nobody is found
	to        string // its address
	behalf    behalf // of whom the connection is; see dial.go
	secret    bool   // the answer is to be sealed
	socket    bool   // it may become a web socket
	hidden    string // the cookie that the service may neither see nor set, "" for none
	start     time.Time
	deadline  time.Time     // until which is waited, for the answer to begin or for its next piece
	end       time.Time     // of the answer; zero as long as that has not begun
	came      time.Time     // when a piece of it came last
	slow      time.Duration // that its client has taken to read it
	wait      time.Duration // until it may be tried again, when it was refused
	counted   bool          // as one of its principal's that go on

	body      *body     // that the client sends; nil once all of it is in client.kept
	unread    bool      // not all of what it has announced was read
	bodyErr   error     // what ended it early
	continued bool      // it was told to send it
	sending   *sending  // of a body that is not kept
	last      bool      // nothing follows on its connection
	whole     time.Time // when all of it had been sent to a service; zero if it was not
	heard     bool      // something of the answer has come
	sent      bool      // something of an answer has been sent
	status    int       // of that
	bytes     int64     // of its body
	cause     error     // why it was not the service's, or is not whole
	cut       error     // why it is not whole

	at, parent, link sdk.Trace // in a trace; zero if none is kept
}

var (
	errTooOften = errors.New("more requests than the rate allows")
	errTooMany  = errors.New("its principal has as many requests under way as it may have")
	errOrigin   = errors.New("a web socket that a page of another origin asks for")
	errCutShort = errors.New("the answer was cut short")
)

// choose finds out for whom a request from outside is. It returns a status to refuse with, or 0.
func (c *client) choose() int {
	g, x, r := c.g, &c.x, &c.req
	if c.entry.l.crowded() {
		// Whoever keeps a connection open without using it keeps others out.
		x.last = true
	}
	if !x.within(g.requests, c.peer) {
		return http.StatusTooManyRequests
	}
	if !r.locate() {
		x.last, x.unread = true, true // whoever reads it otherwise may see another end of it
		return http.StatusBadRequest
	}
	if ambiguous(r.path) {
		return http.StatusBadRequest
	}
	to := g.find(r.path)
	if to == nil {
		return http.StatusNotFound
	}
	x.service, x.secret = to.To, to.Secret
	if g.who != nil && !to.Session {
		x.hidden = g.who.Cookie
	}
	if to.Asks {
		if status := c.recognise(); status != 0 {
			return status
		}
		if to.Needs && x.principal == "" {
			return http.StatusUnauthorized
		}
		if to.Nobody != "" && x.principal == "" {
			x.service, x.secret, x.hidden = to.Nobody, to.SecretNobody, ""
		}
	}
	who := c.who
	if x.principal != "" {
		who = "principal " + x.principal
	}
	if !x.within(to.meter, who) {
		return http.StatusTooManyRequests
	}
	if x.principal != "" {
		if !g.going.begin(x.principal) {
			x.cause = errTooMany
			return http.StatusTooManyRequests
		}
		x.counted = true
	}
	if g.config.Says {
		x.behalf = forSomebody(x.principal, to.Number)
	}
	if to.WebSocket && !x.secret && r.wantsSocket() {
		if !r.ownOrigin() {
			x.cause = errOrigin
			return http.StatusForbidden
		}
		x.socket = true
	}
	return 0
}

// within counts the request as one of who's, and says if there are too many.
func (x *exchange) within(m *meter, who string) bool {
	if m == nil {
		return true
	}
	wait, ok := m.take(who, x.start)
	if !ok {
		x.wait, x.cause = wait, errTooOften
	}
	return ok
}

// chooseBridged is choose for a request of a service.
func (c *client) chooseBridged() int {
	g, x, p := c.g, &c.x, &c.said
	if port, ok := g.config.Services[p.callee]; !ok || port != p.port || g.config.Says != (p.number != 0) {
		return http.StatusNotFound
	}
	if !c.req.locate() {
		x.last, x.unread = true, true
		return http.StatusBadRequest
	}
	x.service, x.principal = p.callee, p.principal
	if g.config.Says {
		x.behalf = behalf{over: p.number}
	}
	return 0
}

// recognise finds out who sent the request. It returns a status to refuse with: that nobody
// can say who it is does not make it nobody.
func (c *client) recognise() int {
	x := &c.x
	ctx, cancel := context.WithDeadline(context.Background(), x.deadline)
	defer cancel()
	principal, err := c.g.who.principal(ctx, c.req.values("Cookie"))
	switch {
	case errors.Is(err, errTwice):
		x.cause = err
		return http.StatusBadRequest
	case errors.Is(err, sdk.ErrLimited):
		x.cause, x.wait = err, sdk.RetryAfter(err)
		return http.StatusTooManyRequests
	case err != nil:
		x.cause = err
		return http.StatusServiceUnavailable
	}
	x.principal = principal
	return 0
}

// serveRequest serves one request whose head was read: it is checked, and given to the service that
// is chosen for it.
func (c *client) serveRequest() {
	g, x, r := c.g, &c.x, &c.req
	x.last = r.close
	x.body = newBody(&c.in, &r.framing, -1)
	x.body.most = g.config.Limits.BodyBytes
	status := refuse(r, &g.config.Limits)
	switch {
	case status != 0:
	case c.entry.callers != nil:
		status = c.chooseBridged()
	default:
		status = c.choose()
	}
	if x.counted {
		defer g.going.end(x.principal)
	}
	if status != 0 {
		c.leaveBody()
		c.turnAway(status)
		return
	}
	x.to = g.at[x.service]
	r.scrub()
	if g.traces != nil {
		g.traces.begin(x, traceOf(r.values(headerTrace)))
	}
	if !x.at.IsZero() || x.caller == callerOutside {
		r.drop(headerTrace)
	}
	if x.caller == callerOutside {
		r.drop(headerState)
	}
	if x.hidden != "" {
		r.hideCookie(x.hidden)
	}
	c.carry()
}

// leaveBody passes over a body that nobody wants, if it is here. Otherwise the connection
// ends: what comes would be taken for a request.
func (c *client) leaveBody() {
	b := c.x.body
	if !b.ended && !b.chunked && b.left <= int64(len(c.in.waiting())) {
		c.in.r += int(b.left)
		b.left, b.ended = 0, true
	}
	if !b.ended {
		c.x.last, c.x.unread = true, true
	}
}

// turnAway answers with a status. Somebody who could be recognised goes where that is
// done.
func (c *client) turnAway(status int) {
	var extra []field
	switch {
	case status == http.StatusTooManyRequests:
		extra = []field{{"Retry-After", after(c.x.wait)}}
	case status == http.StatusServiceUnavailable:
		extra = []field{{"Retry-After", "2"}}
	case status == http.StatusUnauthorized && c.g.config.Authenticate.Login != "":
		extra = []field{{"Location", c.g.config.Authenticate.Login}}
		status = http.StatusSeeOther
	case status == http.StatusUnauthorized: // which would take a header that says how
		status = http.StatusForbidden
	}
	c.page(status, extra...)
}

// refuse returns the status for what is not worth looking at, or 0. Messages
// that could be read in two ways were refused before.
func refuse(r *request, limits *Limits) int {
	switch {
	case r.method == http.MethodConnect || r.method == http.MethodTrace:
		return http.StatusMethodNotAllowed
	case len(r.target) > maxURI:
		return http.StatusRequestURITooLong
	case r.length > limits.BodyBytes:
		return http.StatusRequestEntityTooLarge
	}
	return 0
}

// appendRequest writes the request for the service out of one that was cleaned. length is that of its
// body, -1 if it is not known.
func (c *client) appendRequest(b []byte, length int64) []byte {
	x, r := &c.x, &c.req
	b = append(append(append(append(b, r.method...), ' '), r.target...), " HTTP/1.1\r\n"...)
	host := r.host
	if host == "" {
		host = x.to
	}
	b = appendField(b, "Host", host)
	for _, one := range r.fields {
		b = appendField(b, one.name, one.value)
	}
	b = appendField(b, headerCaller, x.caller)
	if x.principal != "" {
		b = appendField(b, headerPrincipal, principalText(x.principal))
	}
	b = appendField(b, headerID, x.id)
	if !x.at.IsZero() {
		b = appendField(b, "Traceparent", x.at.String())
	}
	if x.caller == callerOutside {
		b = appendField(b, "X-Forwarded-For", c.addr)
		b = appendField(b, "X-Forwarded-Proto", "http")
		if r.host != "" {
			b = appendField(b, "X-Forwarded-Host", r.host)
		}
	}
	switch {
	case x.socket:
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case length > 0 || r.method == http.MethodPost || r.method == http.MethodPut || r.method == http.MethodPatch:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), length, 10), "\r\n"...)
	}
	return append(b, "\r\n"...)
}
