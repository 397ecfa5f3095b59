package sdk

import (
	"context"

	"cofferdam/wire"
)

// SpawnOptions say what an instance gets besides what its template has. The zero
// value adds nothing.
type SpawnOptions = wire.Spawn

// File is a file given as bytes.
type File = wire.File

// Exit is how an instance ended.
type Exit = wire.Exit

// Spawn runs one instance of a template to its end and returns what it printed
// and how it ended; that it ended badly is no error. The deadline of ctx goes
// with the request, and when ctx ends, the instance is killed.
//
// Every error is a [*CallError] that matches one of the errors ErrDenied to
// ErrInterrupted: ErrMalformed if options break the rules written at
// [wire.Spawn], ErrTooLarge if they or the output exceed [wire.MaxBody].
func (c *Client) Spawn(ctx context.Context, template string, options SpawnOptions) (Exit, error) {
	exit, err := c.spawn(ctx, template, &options)
	if err != nil {
		return Exit{}, &CallError{Op: "spawn", Name: template, Err: err}
	}
	return exit, nil
}

func (c *Client) spawn(ctx context.Context, template string, options *SpawnOptions) (Exit, error) {
	if !wire.ValidWord([]byte(template)) {
		return Exit{}, wire.Error{Code: wire.Malformed, Message: "not the name of a template"}
	}
	body := options.Append(nil)
	if len(body) <= wire.MaxBody {
		if _, err := wire.ParseSpawn(body); err != nil {
			return Exit{}, err
		}
	}
	out, err := c.request(ctx, wire.OpSpawn, template, body)
	if err != nil {
		return Exit{}, err
	}
	return wire.ParseExit(out)
}
