package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"cofferdam/executor"
	"cofferdam/wire"
)

// Bounds of what a check lets a program do to us.
const (
	maxCheckOutput = 64 << 10 // that it prints, and that it answers
	maxCheckShown  = 160      // of the output, that are shown
)

// check asks the instance once whether it is well. However it behaves, that takes no longer
// than the timeout, but for what the executor needs to kill a program, and no
// memory to speak of.
func (in *instance) check(turn int) error {
	h := in.svc.Health
	ctx, cancel := context.WithTimeoutCause(context.Background(), h.Timeout, fmt.Errorf("it took longer than %v", h.Timeout))
	defer cancel()
	go func() {
		select {
		case <-in.proc.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	var err error
	switch {
	case h.Exec != nil:
		err = in.checkExec(ctx, h.Exec)
	case h.HTTP != "":
		err = in.checkHTTP(ctx, h.HTTP)
	default:
		err = in.env.Check(ctx, h.Call, turn)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// checkExec runs a program inside, as [Supervisor.Exec] does for the operator.
func (in *instance) checkExec(ctx context.Context, args []string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tooMuch := fmt.Errorf("it printed more than %d bytes", maxCheckOutput)
	out := &checkOutput{over: func() { cancel(tooMuch) }}
	exit, err := in.proc.Exec(ctx, &executor.Command{
		Args: args, Env: envOf(in.svc, in.begun, nil), Dir: in.svc.WorkingDir, Stdout: out, Stderr: out,
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case exit.Code != 0:
		return fmt.Errorf("%q ended with %d%s", args[0], exit.Code, out)
	}
	return nil
}

// checkOutput is what a program prints, as far as it is kept.
type checkOutput struct {
	over func()

	mu    sync.Mutex
	bytes int
	kept  []byte
}

func (o *checkOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = append(o.kept, p[:min(len(p), maxCheckShown-len(o.kept))]...)
	if o.bytes += len(p); o.bytes > maxCheckOutput {
		o.over()
	}
	return len(p), nil
}

func (o *checkOutput) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.kept) == 0 {
		return ""
	}
	return fmt.Sprintf(": %q", o.kept)
}

// checkHTTP asks for a path. Of the answer only the status is looked at.
func (in *instance) checkHTTP(ctx context.Context, path string) error {
	c, err := in.dial(ctx, in.svc.HTTP)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// It fits into the empty buffer of a new socket.
	host := net.JoinHostPort(in.svc.Name, strconv.Itoa(in.svc.HTTP))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: cofferdam\r\nCofferdam-Caller: monitor\r\nConnection: close\r\n\r\n", path, host); err != nil {
		return err
	}
	var begin [wire.StatusSize]byte
	if _, err := io.ReadFull(c, begin[:]); err != nil {
		return errors.New("GET " + path + ": no answer")
	}
	status, err := wire.ParseStatus(begin[:])
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	if status < 200 || status > 399 {
		return fmt.Errorf("GET %s: status %d", path, status)
	}
	// To close on what has come would be a reset, of which a server complains.
	io.CopyN(io.Discard, c, maxCheckOutput)
	return nil
}
