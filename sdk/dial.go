package sdk

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
)

// DialFor connects to a port of a service that has an instance for each principal, in the
// name of one: to that one's instance, which is started if it does not run. The manifest
// must have {connect: service:port, for: anyone} among our uses. The address is the name of
// the service and the port, as for [net.Dial].
//
// That it is refused, or that the instance does not come, is a connection that ends
// without a byte; so is the end of the instance later on, and who connects again reaches
// the next one. [Client.DialFor] says more, and may be faster.
func DialFor(ctx context.Context, address, principal string) (net.Conn, error) {
	if err := checkPrincipal(principal); err != nil {
		return nil, fmt.Errorf("dial %s for %q: %w", address, principal, err)
	}
	return byName(ctx, address, "COFFERDAM for "+hex.EncodeToString([]byte(principal))+"\n")
}
