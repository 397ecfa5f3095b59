// Package gateway is how people's HTTP gets in, and how services' HTTP gets
// from one to the other.
//
// It is an environment like any other, with two privileges declared by the
// manifest: it inherits listening sockets of the host, and it may connect to
// the HTTP port of every service, and to those that are reached otherwise. Those are names of /etc/hosts whose addresses
// the monitor listens on, so to the gateway they are ordinary TCP.
//
//   - From outside ([Config.Routes]): the decoded path picks the service, the
//     first match wins, and the service is told Cofferdam-Caller: gateway.
//   - From a service (the bridge): the monitor has decided on the connection,
//     opens it to the gateway and writes one line ahead of the caller's bytes,
//     the preface, which names caller and callee. Every request on it goes to
//     that callee, which is told Cofferdam-Caller: <caller>.
//   - From outside, and not HTTP ([Config.TCP]): each connection to a further socket of
//     the host is led on to a port of a service, byte for byte.
//
// A gateway with [Config.Authenticate] asks a service of the application, for each
// request that shows the cookie, which principal it comes from, and says so: to the
// monitor, which decides what that one may send and be sent, ahead of the connection,
// and to the service in Cofferdam-Principal. What is answered at a label that is not for
// everybody is sealed ([Route.Secret]): a browser shows it, and passes nothing on.
//
// Either way the headers by which a service knows who asks are taken out of what
// came in and written anew, so that they are as good as the gateway: whoever
// speaks to a service through it cannot choose them.
//
// Every request to a service has a connection of its own. It costs a connect,
// and buys that each request is one decision of the monitor with one record,
// that nothing left over by one request can be the beginning of another, and
// that of each it is known whether an instance may have seen it. If that ends, the request is sent to the
// next one while the client waits, or it is answered that it may have been done
// (hold.go).
//
// Goroutines are those of net/http: one per connection, and two more for each
// connection to a service. A connection that is not HTTP has three.
//
// Trusted: for the names of callers and of principals in HTTP, to see what passes, and
// to seal; it is confined like any environment, and decides nothing. Broken, it could
// claim any caller and any principal towards a service's HTTP port, and reach nothing else.
package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// drainTime is how long requests may go on after the end was asked for. It is
// under the grace that the supervisor gives before it kills.
const drainTime = 4 * time.Second

// slack is how long after the timeout of a request its connection is cut.
const slack = time.Second

// firstFD is the first of the descriptors at which the gateway inherits the host's
// sockets.
const firstFD uintptr = 3

// Gateway serves HTTP from outside and between services. It is safe for
// concurrent use.
type Gateway struct {
	config Config
	routes []route
	log    *slog.Logger
	errors *log.Logger // of net/http, into log
	newID  func() string
	proxy  *httputil.ReverseProxy
	who    *authenticator // nil if nobody is told apart
	traces *tracer        // nil if no requests are traced
	doors  []*tcpDoor

	requests *meter // of each address; nil for no limit
	going    *tally // requests, by principal
}

// New returns a gateway for c, which it checks. It logs one line per request to
// log, and what net/http has to complain about.
func New(c Config, log *slog.Logger) (*Gateway, error) {
	c.Limits = c.Limits.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	routes, err := compile(c.Routes)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		config: c,
		routes: routes,
		log:    log,
		errors: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		newID:  func() string { return strings.ToLower(rand.Text()) },

		requests: newMeter(c.Limits.Rate),
		going:    newTally(c.Limits.PerPrincipal),
	}
	if c.Authenticate != nil {
		g.who = &authenticator{Authenticate: *c.Authenticate, call: new(line).call}
	}
	dial := onBehalf(newDialer().DialContext)
	for i, d := range c.TCP {
		behalf := ""
		if c.Says {
			behalf = forSomebody("", len(c.Routes)+i) // the doors are counted after the routes
		}
		g.doors = append(g.doors, &tcpDoor{
			TCP: d.withDefaults(), to: addressFor(net.JoinHostPort(d.To, strconv.Itoa(d.Port)), behalf), dial: dial, log: log.Info, id: g.newID,
			peers: make(map[netip.Prefix]int), open: make(map[*net.TCPConn]struct{}),
		})
	}
	if c.Traces != nil {
		g.traces = &tracer{Traces: *c.Traces}
	}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      newTransport(time.Duration(c.Limits.AnswerMS) * time.Millisecond),
		ModifyResponse: checkResponse,
		ErrorHandler:   proxyError,
		ErrorLog:       g.errors,
	}
	return g, nil
}

// Main is the role "gateway" of the command: it takes its configuration from
// the variable [ConfigEnv] and the host's listening socket from descriptor 3,
// opens the bridge on the loopback, and serves until ctx ends.
func Main(ctx context.Context, getenv func(string) string, stderr io.Writer) error {
	c, err := ParseConfig([]byte(getenv(ConfigEnv)))
	if err != nil {
		return fmt.Errorf("gateway: %s: %w", ConfigEnv, err)
	}
	g, err := New(c, slog.New(slog.NewJSONHandler(stderr, nil)))
	if err != nil {
		return fmt.Errorf("gateway: %s: %w", ConfigEnv, err)
	}
	var outside, bridge net.Listener
	doors := make([]net.Listener, len(c.TCP))
	fd := firstFD
	take := func(l *net.Listener) {
		if err == nil {
			*l, err = inherited(fd)
		}
		fd++
	}
	if c.Outside {
		take(&outside)
	}
	for i := range doors {
		take(&doors[i])
	}
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	if c.Bridge != 0 {
		if bridge, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", c.Bridge)); err != nil {
			return fmt.Errorf("gateway: bridge: %w", err)
		}
	}
	if g.traces != nil {
		go g.traces.report(ctx, new(line).call)
	}
	return g.Serve(ctx, outside, bridge, doors...)
}

// inherited is a socket of the host's.
func inherited(fd uintptr) (net.Listener, error) {
	file := os.NewFile(fd, "listener")
	if file == nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, os.ErrInvalid)
	}
	defer file.Close() // the listener has a duplicate
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	return l, nil
}

// Serve serves people on outside and services on bridge, either of which may be
// nil, and what is not HTTP on doors, one for each of the configuration's, until ctx
// ends; then requests in progress have drainTime to finish, and other connections
// are closed. It closes all listeners. Its error is that of the listener that failed.
func (g *Gateway) Serve(ctx context.Context, outside, bridge net.Listener, doors ...net.Listener) error {
	var servers []*http.Server
	failed := make(chan error, 2+len(doors))
	serve := func(s *http.Server, l net.Listener) {
		servers = append(servers, s)
		go func() { failed <- s.Serve(l) }()
	}
	if outside != nil {
		capped := newCapped(outside, g.config.Limits.Connections)
		capped.peers = newTally(g.config.Limits.PerPeer)
		serve(g.server(g.outside(capped)), capped)
	}
	if bridge != nil {
		capped := newCapped(bridge, g.config.Limits.Connections)
		s := g.server(http.HandlerFunc(g.bridged))
		s.ConnContext = withPreface
		serve(s, prefaceListener{capped, newTally(g.config.Limits.PerPeer)})
	}
	for i, l := range doors {
		capped, d := newCapped(l, g.doors[i].Connections), g.doors[i]
		defer d.end()
		defer capped.Close()
		go func() { failed <- d.serve(capped) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	// What is left may take its time, but not for ever: ctx has ended already.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	for _, s := range servers {
		if s.Shutdown(drain) != nil {
			s.Close()
		}
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

func (g *Gateway) server(h http.Handler) *http.Server {
	limits := g.config.Limits
	// The request's own timeout comes first: it ends with a page that says so.
	whole := limits.timeout() + slack
	s := &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            min(limits.timeout(), 10*time.Second),
		ReadTimeout:                  whole,
		WriteTimeout:                 whole,
		IdleTimeout:                  min(limits.timeout(), 30*time.Second),
		MaxHeaderBytes:               limits.HeaderBytes,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is answered like any path without a route
		ErrorLog:                     g.errors,
		Protocols:                    new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	return s
}
