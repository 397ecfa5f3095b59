package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// maxResponseHeader is what a service may send ahead of a body, in bytes.
	maxResponseHeader = 64 << 10
)

// rewrite makes the request for the service out of one that handle has cleaned.
func rewrite(p *httputil.ProxyRequest) {
	x := exchangeOf(p.In)
	p.Out.URL.Scheme = "http"
	to := net.JoinHostPort(x.service, strconv.Itoa(x.port))
	p.Out.URL.Host = addressFor(to, x.behalf)
	p.Out.URL.RawQuery = p.In.URL.RawQuery // as it came: nothing here reads it
	if p.Out.Host = p.In.Host; p.Out.Host == "" {
		p.Out.Host = to
	}
	p.Out.Header.Set(headerCaller, x.caller)
	if x.principal != "" {
		p.Out.Header.Set(headerPrincipal, principalText(x.principal))
	}
	p.Out.Header.Set(headerID, x.id)
	if !x.at.IsZero() {
		p.Out.Header.Set(headerTrace, x.at.String())
	}
	if x.caller == callerOutside {
		forwarded(p.Out.Header, p.In)
	}
}

// errUnavailable is the bare 503 with which the monitor, which speaks no HTTP but
// these bytes, answers for a service that is down or broken.
var errUnavailable = errors.New("the service is not available")

// checkResponse looks at what a service answers before anybody sees it. That it
// cannot take the client's connection over, with whatever requests follow on it,
// by switching protocols is seen to by net/http: nobody asked it to.
func checkResponse(res *http.Response) error {
	x := exchangeOf(res.Request)
	if res.StatusCode == http.StatusServiceUnavailable && res.ContentLength == 0 {
		return errUnavailable
	}
	for name := range res.Header {
		if ours(name) {
			delete(res.Header, name)
		}
	}
	if x.hidden != "" {
		keepCookie(res.Header, x.hidden)
	}
	if x.secret {
		return seal(res)
	}
	return nil
}

// transport opens a connection for every request; see hold.go for when another one.
type transport struct {
	http.Transport
	answer time.Duration // see Limits.AnswerMS
}

func newTransport(answer time.Duration) *transport {
	return &transport{answer: answer, Transport: http.Transport{
		DialContext:            onBehalf(newDialer().DialContext),
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxResponseHeader,
	}}
}

// newDialer connects to names of services.
func newDialer() *net.Dialer {
	return &net.Dialer{Resolver: &net.Resolver{
		PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("names come from /etc/hosts only")
		},
	}}
}

// unannounced hides from the transport that somebody wants to hear what a service says
// ahead of its answer (status 103): headers that nobody has looked at.
type unannounced struct{ context.Context }

func (c unannounced) Value(key any) any {
	v := c.Context.Value(key)
	if _, hears := v.(*httptrace.ClientTrace); hears {
		return nil
	}
	return v
}

// proxyError answers for a service that did not. The cause goes to the log.
func proxyError(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r)
	rec := w.(*recorder)
	rec.cause = err
	var tooLarge *http.MaxBytesError
	bodyErr := x.body.failure()
	switch {
	case errors.Is(err, errUnavailable), errors.Is(err, errNobody):
		w.Header().Set("Retry-After", "2")
		w.Header().Set(headerDone, "no")
		page(w, http.StatusServiceUnavailable, x.id)
	case errors.Is(err, errRedirects):
		page(w, http.StatusForbidden, x.id)
	case errors.As(bodyErr, &tooLarge):
		page(w, http.StatusRequestEntityTooLarge, x.id)
	case errors.Is(bodyErr, os.ErrDeadlineExceeded):
		page(w, http.StatusRequestTimeout, x.id)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errSilent):
		w.Header().Set(headerDone, "maybe")
		page(w, http.StatusGatewayTimeout, x.id)
	case errors.Is(r.Context().Err(), context.Canceled):
		rec.status = statusClientGone
	case bodyErr != nil:
		page(w, http.StatusBadRequest, x.id)
	default:
		w.Header().Set(headerDone, "maybe")
		page(w, http.StatusBadGateway, x.id)
	}
}

// watched is a request's body that remembers how reading it went, to tell a
// client that failed from a service that did.
type watched struct {
	io.ReadCloser
	err atomic.Pointer[error]
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err.Store(&err)
	}
	return n, err
}

// failure is what ended the body, nil for its proper end.
func (b *watched) failure() error {
	if err := b.err.Load(); err != nil {
		return *err
	}
	return nil
}
