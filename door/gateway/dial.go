package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
)

// On whose behalf a connection is, as the monitor wants to hear of it: for somebody
// outside, by the route with this number, or of a connection between services that
// it has led here under a number.
func forSomebody(principal string, route int) string {
	return fmt.Sprintf("for_%s_%d", writePrincipal(principal), route)
}

func over(number uint64) string { return fmt.Sprintf("over_%d", number) }

// addressFor is the address of a service for a connection on somebody's behalf. It has
// that in front, so that net/http, which knows connections by where they lead, could
// not give one to somebody else even if it kept them.
func addressFor(to, behalf string) string {
	if behalf == "" {
		return to
	}
	return behalf + "." + to
}

// dialing is the type of net.Dialer.DialContext.
type dialing func(ctx context.Context, network, addr string) (net.Conn, error)

// onBehalf dials such an address, and says on whose behalf in a first line.
func onBehalf(dial dialing) dialing {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		behalf, to, says := strings.Cut(addr, ".") // no service has a dot in its name
		if !says {
			return dial(ctx, network, addr)
		}
		c, err := dial(ctx, network, to)
		if err != nil {
			return nil, err
		}
		// A line fits into the empty buffer of a new socket: this does not wait.
		if _, err := io.WriteString(c, "COFFERDAM "+strings.ReplaceAll(behalf, "_", " ")+"\n"); err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}
}
