package sdk

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"unicode/utf8"

	"cofferdam/wire"
)

// DialFor connects to a port of a service that has an instance for each principal, in the
// name of one: to that one's instance, which is started if it does not run. The manifest
// must have {connect: service:port, for: anyone} among our uses. The address is the name of
// the service and the port, as for [net.Dial].
//
// That it is refused, or that the instance does not come, is a connection that ends
// without a byte; so is the end of the instance later on, and who connects again reaches
// the next one.
func DialFor(ctx context.Context, address, principal string) (net.Conn, error) {
	if principal == "" || len(principal) > wire.MaxPrincipal || !utf8.ValidString(principal) || strings.ContainsRune(principal, 0) {
		return nil, fmt.Errorf("dial %s for %q: want UTF-8 of 1 to %d bytes, without zero bytes", address, principal, wire.MaxPrincipal)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	// A line fits into the empty buffer of a new socket: this does not wait.
	if _, err := io.WriteString(c, "COFFERDAM for "+hex.EncodeToString([]byte(principal))+"\n"); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
