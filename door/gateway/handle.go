package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"cofferdam/sdk"
)

// maxURI is the longest request target that is looked at, in bytes.
const maxURI = 8 << 10

// exchange is one request on its way through. It travels in the context of the
// request, because net/http owns the calls in between.
type exchange struct {
	id        string
	caller    string // as the service is told
	principal string // the same; "" for nobody
	service   string // "" as long as nobody is found
	port      int
	behalf    string        // the line ahead of the connection, "" for none; see dial.go
	secret    bool          // the answer is to be sealed
	hidden    string        // the cookie that the service may neither see nor set, "" for none
	cause     error         // of a refusal that the log should explain
	wait      time.Duration // until it may be tried again
	ended     func()        // called when it has; nil for nothing
	body      *watched

	at, parent, link sdk.Trace // in a trace; zero if none is kept
}

type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange {
	return r.Context().Value(exchangeKey{}).(*exchange)
}

// outside returns the handler for people.
func (g *Gateway) outside(l *capped) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.crowded() {
			// Whoever keeps a connection open without using it keeps others out.
			w.Header().Set("Connection", "close")
		}
		g.handle(w, r, callerOutside, func(ctx context.Context, x *exchange) int {
			peer := peerOfRequest(r)
			if !x.within(g.requests, peer) {
				return http.StatusTooManyRequests
			}
			if ambiguous(r.URL.Path) {
				return http.StatusBadRequest
			}
			to := g.find(r.URL.Path)
			if to == nil {
				return http.StatusNotFound
			}
			x.service, x.secret = to.To, to.Secret
			if g.who != nil && !to.Session {
				x.hidden = g.who.Cookie
			}
			if to.Asks {
				if status := g.recognise(ctx, x, r); status != 0 {
					return status
				}
				if to.Needs && x.principal == "" {
					return http.StatusUnauthorized
				}
				if to.Nobody != "" && x.principal == "" {
					x.service, x.secret, x.hidden = to.Nobody, to.SecretNobody, ""
				}
			}
			who := "address " + peer
			if x.principal != "" {
				who = "principal " + x.principal
			}
			if !x.within(to.meter, who) || x.principal != "" && !x.begin(g.going) {
				return http.StatusTooManyRequests
			}
			if g.config.Says {
				x.behalf = forSomebody(x.principal, to.number)
			}
			return 0
		})
	})
}

// within counts the request as one of who's, and says if there are too many.
func (x *exchange) within(m *meter, who string) bool {
	wait, ok := m.take(who, time.Now())
	if !ok {
		x.wait, x.cause = wait, errTooOften
	}
	return ok
}

// begin counts the request as one that goes on, and says if there are too many.
func (x *exchange) begin(going *tally) bool {
	if !going.begin(x.principal) {
		x.cause = errTooMany
		return false
	}
	x.ended = func() { going.end(x.principal) }
	return true
}

var (
	errTooOften = errors.New("more requests than the rate allows")
	errTooMany  = errors.New("its principal has as many requests under way as it may have")
)

// bridged is the handler for services.
func (g *Gateway) bridged(w http.ResponseWriter, r *http.Request) {
	p := prefaceOf(r.Context())
	g.handle(w, r, p.caller, func(_ context.Context, x *exchange) int {
		if port, ok := g.config.Services[p.callee]; !ok || port != p.port || g.config.Says != (p.number != 0) {
			return http.StatusNotFound
		}
		x.service, x.principal = p.callee, p.principal
		if g.config.Says {
			x.behalf = over(p.number)
		}
		return 0
	})
}

// recognise finds out who sent r. It returns a status to refuse with: that nobody
// can say who it is does not make it nobody.
func (g *Gateway) recognise(ctx context.Context, x *exchange, r *http.Request) int {
	principal, err := g.who.principal(ctx, r)
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

// handle serves one request: it is checked, given to whom choose names, and
// logged. choose returns a status to refuse with.
func (g *Gateway) handle(out http.ResponseWriter, r *http.Request, caller string, choose func(context.Context, *exchange) int) {
	start := time.Now()
	x := &exchange{id: g.newID(), caller: caller}
	w := &recorder{ResponseWriter: out}
	w.Header().Set(headerID, x.id)
	whole := false
	defer func() {
		if x.ended != nil {
			x.ended()
		}
		if !whole && w.cause == nil {
			// The proxy panics with http.ErrAbortHandler, for net/http to cut
			// the connection: the only way to say that the rest is missing.
			w.cause = errCutShort
		}
		took := time.Since(start)
		g.record(r, x, w, took)
		if g.traces != nil {
			g.traces.end(r, x, w.status, start, took)
		}
	}()

	limits := g.config.Limits
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), exchangeKey{}, x), limits.timeout())
	defer cancel()

	status := refuse(r, limits)
	if status == 0 {
		status = choose(ctx, x)
	}
	if status != 0 {
		w.cause = x.cause
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", after(x.wait))
		}
		g.turnAway(w, r, status, x.id)
		whole = true
		return
	}
	if len(r.TransferEncoding) > 0 {
		// Chunks and a length together are read as chunks by net/http, which
		// does not tell. Who stands before us may have gone by the length, so
		// what follows may be no request of theirs (RFC 9112 section 6.1).
		w.Header().Set("Connection", "close")
	}
	x.port = g.config.Services[x.service]
	x.body = g.watch(out, r, start)

	r = r.WithContext(ctx)
	r.Body = x.body
	r.Trailer = nil // a trailer is one more place to put a header
	scrub(r.Header)
	if g.traces != nil {
		g.traces.begin(x, traceOf(r.Header))
	}
	if x.caller == callerOutside {
		delete(r.Header, headerTrace)
		delete(r.Header, headerState)
	}
	if x.hidden != "" {
		hideCookie(r.Header, x.hidden)
	}
	g.proxy.ServeHTTP(w, r)
	whole = true
}

// turnAway answers with a status. Somebody who could be recognised goes where that is
// done.
func (g *Gateway) turnAway(w http.ResponseWriter, r *http.Request, status int, id string) {
	switch {
	case status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "2")
	case status == http.StatusUnauthorized && g.config.Authenticate.Login != "":
		w.Header().Set("Location", g.config.Authenticate.Login)
		status = http.StatusSeeOther
	case status == http.StatusUnauthorized: // which would take a header that says how
		status = http.StatusForbidden
	}
	page(w, status, id)
}

// watch bounds the body of r in size, and in time: a client that stops sending
// must fail by itself, for net/http would wait for it even after the service
// has been given up. Once the body is read, net/http lifts the deadline.
func (g *Gateway) watch(out http.ResponseWriter, r *http.Request, start time.Time) *watched {
	if r.Body != http.NoBody {
		// An error means that out is no connection, which has nothing to wait for.
		_ = http.NewResponseController(out).SetReadDeadline(start.Add(g.config.Limits.timeout()))
	}
	return &watched{ReadCloser: http.MaxBytesReader(out, r.Body, g.config.Limits.BodyBytes)}
}

var errCutShort = errors.New("the answer was cut short")

// refuse returns the status for what is not worth looking at, or 0. Messages
// that could be read in two ways were refused by net/http before.
func refuse(r *http.Request, limits Limits) int {
	switch {
	case r.ProtoMajor != 1:
		// net/http passes on the preface of HTTP/2 for somebody to take over.
		return http.StatusHTTPVersionNotSupported
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return http.StatusMethodNotAllowed
	case len(r.RequestURI) > maxURI:
		return http.StatusRequestURITooLong
	case r.ContentLength > limits.BodyBytes:
		return http.StatusRequestEntityTooLarge
	}
	return 0
}
