package supervisor

import (
	"context"
	"fmt"

	"cofferdam/audit"
	"cofferdam/executor"
)

// Exec runs a program inside the running instance of a service, with what the
// instance itself may do and no more. Env of cmd is added to the service's own.
func (s *Supervisor) Exec(ctx context.Context, service string, cmd executor.Command) (executor.Exit, error) {
	u := s.units[service]
	if u == nil {
		return executor.Exit{}, fmt.Errorf("exec: no service %q runs here", service)
	}
	u.mu.Lock()
	in := u.current
	u.mu.Unlock()
	if in == nil {
		return executor.Exit{}, fmt.Errorf("exec: no instance of %q is running", service)
	}
	cmd.Env = envOf(u.spec, s.reachOf(service), cmd.Env)
	if cmd.Dir == "" {
		cmd.Dir = u.spec.WorkingDir
	}
	if err := s.record(audit.Record{
		Kind: audit.KindStart, Subject: service, Instance: in.name, Op: "exec", Detail: fmt.Sprintf("command %q", cmd.Args),
	}); err != nil {
		return executor.Exit{}, err
	}
	return in.proc.Exec(ctx, &cmd)
}

// WatchLogs delivers what services print from now on, until stop is called. A
// watcher that does not keep up misses lines.
func (s *Supervisor) WatchLogs() (lines <-chan Line, stop func()) { return s.logs.watch() }
