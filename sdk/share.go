package sdk

import (
	"context"

	"cofferdam/wire"
)

// MountOptions say where a directory of the host is to appear, and for whom. The
// zero value means: with us, for ourselves.
type MountOptions struct {
	Into      string // the service whose instance is to see it
	Principal string // whose instance: of a template the newest one if several run, of a service with one for each principal that, which is started if it does not run
	Client    string // on whose behalf we ask, a name of our choice
}

// Mount has a directory of the host, given by its absolute path, shown in a
// running instance, and returns the path at which it is seen there. The manifest
// must grant us a share that it lies in. To mount what is mounted for the same
// client already returns the path and changes nothing.
//
// Links in the path are not followed. If another directory has taken the place
// of one that is mounted, that is a new mount, with a path of its own.
//
// Every error is a [*CallError] that matches one of the errors ErrDenied to
// ErrLimited: ErrDenied if it is not granted or not there, ErrUnavailable if
// no such instance runs, ErrBusy if too much is mounted. What was mounted in an instance
// ends with it; mounted again, it has a path in the next one.
func (c *Client) Mount(ctx context.Context, dir string, options MountOptions) (string, error) {
	out, err := c.share(ctx, wire.OpMount, dir, options)
	return string(out), err
}

// Unmount takes back what Mount with the same arguments gave, in every instance
// that still has it. The directory disappears there once nobody else has it
// mounted; what is open by then stays open.
//
// Every error is a [*CallError], as for Mount: ErrDenied also if nothing is
// mounted.
func (c *Client) Unmount(ctx context.Context, dir string, options MountOptions) error {
	_, err := c.share(ctx, wire.OpUnmount, dir, options)
	return err
}

func (c *Client) share(ctx context.Context, op wire.Op, dir string, o MountOptions) ([]byte, error) {
	m := wire.Mount{Dir: dir, Into: o.Into, Principal: o.Principal, Client: o.Client}
	body := m.Append(nil)
	_, err := wire.ParseMount(body)
	if err == nil {
		body, err = c.request(ctx, op, "", body)
	}
	if err != nil {
		return nil, &CallError{Op: op.String(), Name: dir, Err: err}
	}
	return body, nil
}

// End has the instance that a service runs for a principal end, as if nobody used it any more: with
// the service's stop_grace_period. Whoever needs it next gets another one. The manifest must let us connect to the
// service for anyone. Whether there was one is not told.
//
// Every error is a [*CallError], as for Mount.
func (c *Client) End(ctx context.Context, service, principal string) error {
	e := wire.End{Service: service, Principal: principal}
	body := e.Append(nil)
	_, err := wire.ParseEnd(body)
	if err == nil {
		_, err = c.request(ctx, wire.OpEnd, "", body)
	}
	if err != nil {
		return &CallError{Op: wire.OpEnd.String(), Name: service, Err: err}
	}
	return nil
}
