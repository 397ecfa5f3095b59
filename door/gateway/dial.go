package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"cofferdam/sdk"
	"cofferdam/wire"
)

// behalf is on whose behalf a connection is, as the monitor wants to hear of it: for somebody
// outside, by the route with this number, or of a connection between services that
// it has led here under a number. The zero value is where it makes no difference.
type behalf struct {
	as   wire.Dial // in a request for a connection of which we get the socket
	over uint64    // that number; there is no such request for this
}

func forSomebody(principal string, route int) behalf {
	return behalf{as: wire.Dial{Principal: principal, Route: uint64(route) + 1}}
}

// line says the same at the beginning of a connection that is relayed; it is "" for nothing.
func (b behalf) line() string {
	switch {
	case b.over != 0:
		return fmt.Sprintf("COFFERDAM over %d\n", b.over)
	case b.as.Route != 0:
		return fmt.Sprintf("COFFERDAM for %s %d\n", writePrincipal(b.as.Principal), b.as.Route-1)
	}
	return ""
}

// connect connects to a service. The monitor hands us the socket of the connection if it can be had, so that
// no byte of it passes a third process. For all else there is the name, whose address the monitor listens on: it relays what is
// sent there after a line, and it is there that it says why something is refused.
func (g *Gateway) connect(ctx context.Context, to string, on behalf) (c net.Conn, line string, err error) {
	denied := false
	if g.hand != nil && on.over == 0 {
		c, err := g.hand(ctx, to, on.as)
		if err == nil {
			return c, "", nil
		}
		denied = errors.Is(err, sdk.ErrDenied)
	}
	c, err = g.dial(ctx, "tcp", to)
	if err != nil && denied {
		err = errDenied // nobody listens at a name that is not to be reached
	}
	return c, on.line(), err
}

// errDenied: the service may not be reached by this route any more.
var errDenied = errors.New("the grant for this route was revoked")

// handing is the type of sdk.Client.DialAs.
type handing func(ctx context.Context, to string, as wire.Dial) (net.Conn, error)

func (l *line) hand(ctx context.Context, to string, as wire.Dial) (net.Conn, error) {
	c, err := l.connected(ctx)
	if err != nil {
		return nil, err
	}
	return c.DialAs(ctx, to, as)
}

// dialing is the type of net.Dialer.DialContext.
type dialing func(ctx context.Context, network, addr string) (net.Conn, error)

// newDialer connects to names of services.
func newDialer() *net.Dialer {
	return &net.Dialer{Resolver: &net.Resolver{
		PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("names come from /etc/hosts only")
		},
	}}
}

// begun dials an address and begins with a line, "" for none.
func begun(dial dialing, line string) dialing {
	if line == "" {
		return dial
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		// A line fits into the empty buffer of a new socket: this does not wait.
		if _, err := io.WriteString(c, line); err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}
}
