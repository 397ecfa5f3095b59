// Package dynamic makes zoobar's pages.
//
// It keeps nothing: what a page shows or changes it asks of auth, bank, store,
// profile and roster, with the token that the visitor's cookie brought and the
// visitor's privilege, which this instance owns if it was started for the visitor.
//
// Two things on a page were written by other people: text, which html/template
// escapes everywhere, and the output of a profile, which is HTML as its owner's
// program wrote it. That may look like anything, but no script in it runs, and a
// form in it leads nowhere but to the page that it is on: see policy.go.
//
// Trusted: no.
package dynamic

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/sdk"
)

// Prefix is where the application lives.
const Prefix = "/zoobar/index.cgi"

// maxBodyBytes of a request: a profile of the longest kind, percent-encoded.
const maxBodyBytes = 256 << 10

// Peers are the services that dynamic calls.
type Peers interface {
	CallWith(ctx context.Context, call string, body []byte, o sdk.Options) (sdk.Reply, error)
	CallJSON(ctx context.Context, call string, args, result any) error
}

// Site answers every page. It is safe for concurrent use.
type Site struct {
	peers  Peers
	nobody bool
	sleep  func(context.Context, time.Duration)
}

// Options of a [Site].
type Options struct {
	Nobody bool // all visitors are anonymous, whatever their cookies say
}

// New returns the site.
func New(peers Peers, o Options) http.Handler {
	site := &Site{peers: peers, nobody: o.Nobody, sleep: sleep}
	return http.NewCrossOriginProtection().Handler(site) // a form on another site's page posts nothing here
}

// page is one request to one page. A handler fills it and names a template.
type page struct {
	w    http.ResponseWriter
	r    *http.Request
	site *Site

	session calls.Session // zero for an anonymous visitor
	nonce   string        // of this page's scripts
}

// route is what a page is reached by.
type route struct {
	serve   func(*page) error
	methods string // separated by spaces; HEAD comes with GET
	login   bool   // anonymous visitors are sent to the login page
}

var routes = map[string]route{
	"/":         {(*page).index, "GET POST", true},
	"/users":    {(*page).users, "GET", true},
	"/transfer": {(*page).transfer, "GET POST", true},
	"/zoobarjs": {(*page).zoobarjs, "GET", false},
	"/login":    {(*page).login, "GET POST", false},
	"/logout":   {(*page).logout, "GET", false},
	"/echo":     {(*page).echo, "GET", false},
}

// ServeHTTP finds the page, finds out who is asking, and lets the page answer.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := &page{w: w, r: r, site: s, nonce: rand.Text()}
	p.setHeaders()
	path, ok := strings.CutPrefix(r.URL.Path, Prefix)
	if path == "" {
		path = "/"
	}
	route, found := routes[path]
	switch {
	case !ok || !found:
		http.NotFound(w, r)
		return
	case !allowed(r.Method, route.methods):
		w.Header().Set("Allow", route.methods)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	if err := r.ParseForm(); err != nil {
		p.fail(badRequest(err))
		return
	}
	if err := p.identify(); err != nil {
		p.fail(err)
		return
	}
	if route.login && p.session.User == "" {
		p.redirect(loginURL(r.URL.RequestURI()))
		return
	}
	if err := route.serve(p); err != nil {
		p.fail(err)
	}
}

func allowed(method, methods string) bool {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for m := range strings.FieldsSeq(methods) {
		if m == method {
			return true
		}
	}
	return false
}

func (p *page) setHeaders() {
	h := p.w.Header()
	h.Set("X-XSS-Protection", "0") // part of the application's contract
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin") // zoobarjs is a balance
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy(p.r.Host, p.r.URL.Path, p.nonce))
}

// redirect is a 302 to a path on this site.
func (p *page) redirect(path string) {
	p.w.Header().Set("Location", path)
	p.w.WriteHeader(http.StatusFound)
}

type badRequestError struct{ err error }

func badRequest(err error) error        { return badRequestError{err} }
func (e badRequestError) Error() string { return e.err.Error() }
func (e badRequestError) Unwrap() error { return e.err }

// fail ends a page that could not be made. The visitor learns what to do; the
// cause goes to the log.
func (p *page) fail(err error) {
	status, text := http.StatusInternalServerError, "Something went wrong."
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		status, text = http.StatusRequestEntityTooLarge, "That is too long."
	case errors.As(err, new(badRequestError)):
		status, text = http.StatusBadRequest, "That request makes no sense."
	case errors.Is(err, sdk.ErrUnavailable), errors.Is(err, sdk.ErrBusy), errors.Is(err, sdk.ErrBroken):
		status, text = http.StatusServiceUnavailable, "A part of the site is not available. Please try again."
	}
	slog.Error("page", "path", p.r.URL.Path, "status", status, "err", err)
	http.Error(p.w, text, status)
}
