package manager

import (
	"context"
	"net"

	"cofferdam/sdk"
)

// Backend reaches the instances of tenants. Whose they are is for us to say.
type Backend interface {
	// Dial connects to the instance that runs for a tenant. It is started if there is
	// none, and ends some time after nobody is connected to it any more.
	Dial(ctx context.Context, tenant string) (net.Conn, error)
	// Mount shows a directory of the host in that instance while it runs, and returns
	// its path there.
	Mount(ctx context.Context, tenant, dir string) (string, error)
	// End ends that instance, without waiting for it.
	End(ctx context.Context, tenant string) error
}

// Cofferdam is the backend of a manager that runs as a service. Into is the
// service with an instance for each tenant, and At where it is reached:
//
//	uses:
//	  - {connect: server:4711, for: anyone}
//	  - {share: tenants, into: server, for: anyone}
type Cofferdam struct {
	Client *sdk.Client
	Into   string
	At     string
}

// MaxConnections is how many connections the monitor lets one program have made at a time.
const MaxConnections = 256

// Dial is that of [Backend].
func (b *Cofferdam) Dial(ctx context.Context, tenant string) (net.Conn, error) {
	return sdk.DialFor(ctx, b.At, tenant)
}

// Mount is that of [Backend].
func (b *Cofferdam) Mount(ctx context.Context, tenant, dir string) (string, error) {
	return b.Client.Mount(ctx, dir, sdk.MountOptions{Into: b.Into, Principal: tenant, Client: tenant})
}

// End is that of [Backend].
func (b *Cofferdam) End(ctx context.Context, tenant string) error {
	return b.Client.End(ctx, b.Into, tenant)
}
