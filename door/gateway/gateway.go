// Package gateway is how people's HTTP gets in, and how services' HTTP gets
// from one to the other.
//
// It is an environment like any other, with two privileges declared by the
// manifest: it inherits listening sockets of the host, and it may connect to
// the HTTP port of every service, and to those that are reached otherwise. Those are
// names of /etc/hosts whose addresses the monitor listens on, so to the gateway they are ordinary TCP.
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
// A head is read in one way, which is strict, and written anew (head.go); bodies pass in pieces, their
// framing checked (body.go). Each connection of a client has at most one to a service, which carries
// its requests one after the other for at most a second, as long as they are on the same behalf (far.go). So what the monitor
// has decided is never older than that, and what a service says that nobody has asked for
// reaches nobody: not another client, and not the next request. Of each request it is
// known whether an instance may have seen it. If that ends, the request is sent to the
// next one while the client waits, or it is answered that it may have been done (hold.go). An answer that has
// begun goes on for as long as pieces of it come (stream.go).
//
// There is one goroutine for each connection of a client, and another one while the body of a request is
// carried that is longer than 16 KiB. An idle connection has no buffers. One that is not HTTP has three.
//
// Trusted: for the names of callers and of principals in HTTP, to see what passes, and
// to seal; it is confined like any environment, and decides nothing. Broken, it could
// claim any caller and any principal towards a service's HTTP port, and reach nothing else.
package gateway

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
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
	at     map[string]string // the address of each service
	out    *gathered
	log    *slog.Logger // into out
	newID  func() string
	dial   dialing
	hand   handing        // nil for no sockets that are handed out
	who    *authenticator // nil if nobody is told apart
	traces *tracer        // nil if no requests are traced
	doors  []*tcpDoor

	requests *meter // of each address; nil for no limit
	going    *tally // requests, by principal
}

// New returns a gateway for c, which it checks. It logs one line of JSON per request to out, a moment
// after it has ended.
func New(c Config, out io.Writer) (*Gateway, error) {
	c.Limits = c.Limits.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	routes, err := compile(c.Routes)
	if err != nil {
		return nil, err
	}
	lines := &gathered{to: out}
	g := &Gateway{
		config: c,
		routes: routes,
		at:     make(map[string]string),
		out:    lines,
		log:    slog.New(slog.NewJSONHandler(lines, nil)),
		newID:  newID,

		dial: newDialer().DialContext,

		requests: newMeter(c.Limits.Rate),
		going:    newTally(c.Limits.PerPrincipal),
	}
	for name, port := range c.Services {
		g.at[name] = net.JoinHostPort(name, strconv.Itoa(port))
	}
	if c.Authenticate != nil {
		g.who = &authenticator{Authenticate: *c.Authenticate, call: new(line).call}
	}
	for _, d := range c.TCP {
		var on behalf
		if c.Says {
			on = forSomebody("", d.Number)
		}
		g.doors = append(g.doors, &tcpDoor{
			TCP: d.withDefaults(), to: net.JoinHostPort(d.To, strconv.Itoa(d.Port)), dial: begun(g.dial, on.line()), log: g.log.Info, id: g.newID,
			peers: make(map[netip.Prefix]int), open: make(map[*net.TCPConn]struct{}),
		})
	}
	if c.Traces != nil {
		g.traces = &tracer{Traces: *c.Traces}
	}
	return g, nil
}

// newID returns the name of a request: 130 random bits, in letters and digits.
func newID() string {
	var id [26]byte
	rand.Read(id[:])
	for i, b := range id {
		id[i] = "abcdefghijklmnopqrstuvwxyz234567"[b%32]
	}
	return string(id[:])
}

// Main is the role "gateway" of the command: it takes its configuration from
// the variable [ConfigEnv] and the host's listening socket from descriptor 3,
// opens the bridge on the loopback, and serves until ctx ends.
func Main(ctx context.Context, getenv func(string) string, stderr io.Writer) error {
	c, err := ParseConfig([]byte(getenv(ConfigEnv)))
	if err != nil {
		return fmt.Errorf("gateway: %s: %w", ConfigEnv, err)
	}
	g, err := New(c, stderr)
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
	g.hand = new(line).hand
	g.Serve(ctx, outside, bridge, doors...)
	return nil
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
// are closed. It closes all listeners.
func (g *Gateway) Serve(ctx context.Context, outside, bridge net.Listener, doors ...net.Listener) {
	defer g.out.flush()
	var entries []*entry
	if outside != nil {
		l := newCapped(outside, g.config.Limits.Connections)
		l.peers = newTally(g.config.Limits.PerPeer)
		entries = append(entries, g.entry(l, nil))
	}
	if bridge != nil {
		l := newCapped(bridge, g.config.Limits.Connections)
		entries = append(entries, g.entry(l, newTally(g.config.Limits.PerPeer)))
	}
	for _, e := range entries {
		go e.serve()
	}
	for i, l := range doors {
		capped, d := newCapped(l, g.doors[i].Connections), g.doors[i]
		defer d.end()
		defer capped.Close()
		go d.serve(capped)
	}
	<-ctx.Done()
	// What is left may take its time, but not for ever: ctx has ended already.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	var all sync.WaitGroup
	for _, e := range entries {
		all.Go(func() { e.drain(drain.Done()) })
	}
	all.Wait()
}
