package sdk

import (
	"context"
	"time"

	"cofferdam/wire"
)

// SpawnOptions say what an instance gets besides what its template has. The zero
// value adds nothing. The rules for each are at [wire.Spawn].
type SpawnOptions struct {
	Args      []string      // further arguments, after those of the template
	Env       []string      // "K=V" each
	Files     []File        // shown read-only
	Stdin     []byte        // all of standard input
	Wall      time.Duration // can only lower the template's limit
	Principal string        // for whom it runs
	Bound     []byte        // what servers see as bound to it

	Label     *Label    // of the instance; nil for the template's, joined with ours
	Clearance *Label    // of the instance; nil for the template's, or Label if that is higher
	Gives     []Formula // privileges of ours that it gets
	Handles   []Handle  // of ours that it gets, as its Labels.Handles, before those of Gives
	Out, In   Formula   // the privileges that we use for it, as in Options
}

// File is a file given as bytes.
type File = wire.File

// Exit is how an instance ended.
type Exit = wire.Exit

// Result is how an instance ended and what it printed, as a labeled value: known
// when it has ended, to those who are at the label of the result.
//
// The instance lives as long as who started it has a handle of this: to drop it is
// to kill the instance.
type Result struct{ Handle }

// Spawn runs one instance of a template to its end and returns what it printed
// and how it ended; that it ended badly is no error. The deadline of ctx goes
// with the request, and when ctx ends, the instance is killed. Its end is told at
// our label: to let it run at a higher one, use [Client.Start].
//
// Every error is a [*CallError] that matches one of the errors ErrDenied to
// ErrLimited: ErrMalformed if options break the rules written at
// [wire.Spawn], ErrTooLarge if they or the output exceed [wire.MaxBody].
func (c *Client) Spawn(ctx context.Context, template string, options SpawnOptions) (Exit, error) {
	out, err := c.spawn(ctx, template, options.wire(nil))
	var exit Exit
	if err == nil {
		exit, err = wire.ParseExit(out)
	}
	if err != nil {
		return Exit{}, &CallError{Op: "spawn", Name: template, Err: err}
	}
	return exit, nil
}

// Start starts one instance of a template and does not wait for it. What it prints
// and how it ends is a Result, at the label that is given, whatever the instance
// reads meanwhile: so it can run at a higher label than ours. The deadline of ctx, if
// it has one, is that of the instance; otherwise ctx has to do with its start alone.
//
// Its errors are those of Spawn.
func (c *Client) Start(ctx context.Context, template string, result Label, options SpawnOptions) (Result, error) {
	out, err := c.spawn(ctx, template, options.wire(&result))
	var t wire.Told
	if err == nil {
		t, err = wire.ParseTold(out)
	}
	if err == nil && len(t.Handles) != 1 {
		err = noHandle
	}
	if err != nil {
		return Result{}, &CallError{Op: "spawn", Name: template, Err: err}
	}
	return Result{Handle{c, t.Handles[0]}}, nil
}

func (c *Client) spawn(ctx context.Context, template string, s *wire.Spawn) ([]byte, error) {
	if !wire.ValidWord([]byte(template)) {
		return nil, wire.Error{Code: wire.Malformed, Message: "not the name of a template"}
	}
	body := s.Append(nil)
	if len(body) <= wire.MaxBody {
		if _, err := wire.ParseSpawn(body); err != nil {
			return nil, err
		}
	}
	return c.request(ctx, wire.OpSpawn, template, body)
}

func (o *SpawnOptions) wire(result *Label) *wire.Spawn {
	return &wire.Spawn{
		Args: o.Args, Env: o.Env, Files: o.Files, Stdin: o.Stdin, Wall: o.Wall, Principal: o.Principal, Bound: o.Bound,
		Label: o.Label, Clearance: o.Clearance, Result: result, Gives: o.Gives, Handles: numbers(o.Handles), Out: o.Out, In: o.In,
	}
}

// Wait returns how the instance ended, as soon as it has. It is ErrLabel if we are
// not at the label of the result, ErrWithheld if the instance has risen above that,
// of which nobody is told more, ErrEmpty if it had not ended within the deadline of ctx,
// and ErrUnavailable, or ErrDeadline or ErrCanceled, if it could not begin, or not in time.
func (r Result) Wait(ctx context.Context, o Options) (Exit, error) {
	t, err := r.c.askUntil(ctx, wire.OpWait, "result", o.ask(r.Handle), o.Now)
	if err != nil {
		return Exit{}, err
	}
	exit, err := wire.ParseExit(t.Data)
	if err != nil {
		return Exit{}, &CallError{Op: wire.OpWait.String(), Name: "result", Err: err}
	}
	return exit, nil
}

// Kill ends the instance, if we may write at its label, and never says whether we
// could or it was still there.
func (r Result) Kill(ctx context.Context, o Options) error {
	_, err := r.c.ask(ctx, wire.OpKill, "result", o.ask(r.Handle))
	return err
}
