package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/monitor"
	"cofferdam/wire"
)

// Spawn runs one instance of a template to its end. The monitor has decided
// that the caller may, and at which labels; see [cofferdam/monitor.Spawner].
func (s *Supervisor) Spawn(ctx context.Context, by wire.Identity, template string, req wire.Spawn, flow monitor.Flow, admit func(*monitor.Env)) (wire.Exit, error) {
	svc := s.template(template)
	if svc == nil {
		return wire.Exit{}, fmt.Errorf("spawn: no template %q", template)
	}
	var stdout, stderr bytes.Buffer
	l := launch{
		principal: req.Principal,
		bound:     req.Bound,
		args:      req.Args,
		env:       req.Env,
		files:     req.Files,
		stdin:     bytes.NewReader(req.Stdin),
		stdout:    &stdout,
		stderr:    &stderr,
		wall:      req.Wall,
		flow:      &flow,
		admit:     admit,
	}
	in, err := s.runToEnd(ctx, svc, l)
	if err != nil {
		s.Logger.Error("spawn", "template", template, "by", by.Instance, "error", err)
	}
	if in == nil {
		return wire.Exit{}, err
	}
	exit := in.proc.Exit()
	return wire.Exit{
		Stdout: stdout.Bytes(),
		Stderr: stderr.Bytes(),
		Cause:  string(exit.Cause),
		Code:   exit.Code,
		Limit:  exit.Limit,
		Detail: exit.Detail,
		Wall:   exit.Usage.Wall,
		CPU:    exit.Usage.CPU,
		Memory: exit.Usage.MemoryBytes,
	}, err
}

// Line runs one instance of a service that is a program per call. A program
// that fails is the service's error; what it printed about it is in its log.
func (s *Supervisor) Line(ctx context.Context, service, method string, caller wire.Identity, body []byte, flow monitor.Flow, admit func(*monitor.Env)) ([]byte, error) {
	svc := s.service(service)
	if svc == nil {
		return nil, fmt.Errorf("no service %q", service)
	}
	var stdout bytes.Buffer
	in, err := s.runToEnd(ctx, svc, launch{
		env:    []string{"COFFERDAM_METHOD=" + method, "COFFERDAM_CALLER=" + caller.Service},
		stdin:  bytes.NewReader(append(body, '\n')),
		stdout: &stdout,
		flow:   &flow,
		admit:  admit,
	})
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, wire.ErrBusy) {
			s.Logger.Error("program per call", "service", service, "error", err)
			err = errors.New("the program could not be started")
		}
		return nil, err
	}
	if exit := in.proc.Exit(); exit.Code != 0 {
		return nil, fmt.Errorf("the program ended with %s, code %d", exit.Cause, exit.Code)
	}
	return bytes.TrimSuffix(stdout.Bytes(), []byte("\n")), nil
}

// runToEnd starts an instance, once the budget has room for it, and waits for its
// end, or makes it end with ctx. Then the error is that of ctx.
func (s *Supervisor) runToEnd(ctx context.Context, svc *manifest.Service, l launch) (*instance, error) {
	if err := s.admitted(ctx, svc, l.principal, l.flow.Label); err != nil {
		return nil, err
	}
	defer s.admission.release(svc)
	in, err := s.start(ctx, svc, l)
	if err != nil {
		return nil, err
	}
	select {
	case <-in.proc.Done():
	case <-ctx.Done():
		in.proc.Kill(executor.CausePolicy, "nobody waits for it any more")
	}
	in.end()
	return in, ctx.Err()
}

func (s *Supervisor) template(name string) *manifest.Service {
	if svc := s.service(name); svc != nil && svc.Template {
		return svc
	}
	return nil
}

func (s *Supervisor) service(name string) *manifest.Service { return s.now().app.Service(name) }
