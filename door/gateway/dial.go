package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
)

// On whose behalf a connection is, as the monitor wants to hear of it: for somebody
// outside, by the route with this number, or of a connection between services that
// it has led here under a number.
func forSomebody(principal string, route int) string {
	return fmt.Sprintf("COFFERDAM for %s %d\n", writePrincipal(principal), route)
}

func over(number uint64) string { return fmt.Sprintf("COFFERDAM over %d\n", number) }

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

// onBehalf dials an address and says on whose behalf in a first line, "" for none.
func onBehalf(dial dialing, behalf string) dialing {
	if behalf == "" {
		return dial
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		// A line fits into the empty buffer of a new socket: this does not wait.
		if _, err := io.WriteString(c, behalf); err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}
}
