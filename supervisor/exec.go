package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cofferdam/audit"
	"cofferdam/executor"
)

// Exec runs a program inside the running instance of a service, with what the
// instance itself may do and no more. Of a service that has several the instance is
// named instead. Env of cmd is added to the service's own.
func (s *Supervisor) Exec(ctx context.Context, service string, cmd executor.Command) (executor.Exit, error) {
	in, err := s.instanceOf(service)
	if err != nil {
		return executor.Exit{}, fmt.Errorf("exec: %w", err)
	}
	cmd.Env = envOf(in.svc, in.begun, cmd.Env)
	if cmd.Dir == "" {
		cmd.Dir = in.svc.WorkingDir
	}
	if err := in.record(audit.Record{
		Kind: audit.KindStart, Op: "exec", Detail: fmt.Sprintf("command %q", cmd.Args),
	}); err != nil {
		return executor.Exit{}, err
	}
	return in.proc.Exec(ctx, &cmd)
}

// instanceOf is the running instance of a service, or the one with that name of a
// service that has several.
func (s *Supervisor) instanceOf(name string) (*instance, error) {
	if u := s.now().units[name]; u != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.current == nil {
			return nil, fmt.Errorf("no instance of %q is running", name)
		}
		return u.current, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.runs[name]; in != nil && s.now().pools[in.svc.Name] != nil {
		return in, nil
	}
	if s.now().pools[name] == nil {
		return nil, fmt.Errorf("no service %q runs here", name)
	}
	var names []string
	for _, in := range s.runs {
		if in.svc.Name == name {
			names = append(names, in.name)
		}
	}
	slices.Sort(names)
	switch len(names) {
	case 0:
		return nil, fmt.Errorf("no instance of %q is running", name)
	case 1:
		return s.runs[names[0]], nil
	}
	return nil, fmt.Errorf("%q has several instances; name one of %s", name, strings.Join(names, ", "))
}

// WatchLogs delivers what services print from now on, until stop is called. A
// watcher that does not keep up misses lines.
func (s *Supervisor) WatchLogs() (lines <-chan Line, stop func()) { return s.logs.watch() }
