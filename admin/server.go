package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"cofferdam/executor"
	"cofferdam/supervisor"
)

// Server answers the operator.
type Server struct {
	Supervisor *supervisor.Supervisor
	App        App
	Owner      int             // the user who may steer, beside root
	Stopped    <-chan struct{} // closed once everything has been stopped

	watching sync.WaitGroup // those who watch events
}

// Serve answers until l is closed.
func (s *Server) Serve(l *net.UnixListener) {
	for {
		nc, err := l.AcceptUnix()
		if err != nil {
			return
		}
		go s.serve(nc)
	}
}

func (s *Server) serve(nc *net.UnixConn) {
	defer nc.Close()
	reply := &replier{enc: json.NewEncoder(nc)}
	user, err := checkPeer(nc, s.Owner)
	if err != nil {
		reply.send(Response{Error: err.Error(), Code: 77})
		return
	}
	line, files, err := receive(nc)
	if err != nil {
		reply.send(Response{Error: "request: " + err.Error(), Code: 125})
		return
	}
	defer closeAll(files)
	var req Request
	if err := json.Unmarshal(line, &req); err != nil {
		reply.send(Response{Error: "request: " + err.Error(), Code: 125})
		return
	}
	// The client sends nothing more: what ends the read is its going away.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		io.Copy(io.Discard, nc)
		cancel()
	}()
	s.answer(ctx, user, req, files, reply)
}

func (s *Server) answer(ctx context.Context, user int, req Request, files []*os.File, reply *replier) {
	switch req.Op {
	case OpStatus:
		app := s.App
		app.UptimeNS = int64(s.Supervisor.Uptime())
		reply.send(Response{App: &app, Services: s.Supervisor.Status()})
	case OpTurns:
		reply.send(Response{Services: s.Supervisor.Queued()})
	case OpMounts:
		reply.send(Response{Mounts: s.Supervisor.Mounts()})
	case OpStats:
		app, counted := s.App, s.Supervisor.Count()
		app.UptimeNS = int64(counted.Uptime)
		reply.send(Response{App: &app, Stats: &counted})
	case OpLogs:
		lines, stop := s.Supervisor.WatchLogs()
		defer stop()
		for {
			select {
			case l := <-lines:
				if (req.Service == "" || req.Service == l.Service) && reply.send(Response{Line: &l}) != nil {
					return
				}
			case <-s.Stopped:
				return
			case <-ctx.Done():
				return
			}
		}
	case OpExec:
		s.exec(ctx, req, files, reply)
	case OpFlush:
		head, err := s.Supervisor.Log.Head()
		if err != nil {
			reply.send(Response{Error: err.Error(), Code: 125})
			return
		}
		reply.send(Response{Head: &head})
	case OpGrant, OpRevoke:
		s.change(ctx, user, req, reply)
	case OpOrder:
		s.order(ctx, user, req, reply)
	case OpReload:
		s.reload(ctx, user, req, files, reply)
	case OpKill:
		n, err := s.Supervisor.Signal(req.Service, syscall.Signal(req.Signal), user)
		if err != nil {
			reply.send(Response{Error: err.Error(), Code: 125})
			return
		}
		instances := "instances"
		if n == 1 {
			instances = "instance"
		}
		reply.send(Response{Said: fmt.Sprintf("sent to %d %s", n, instances)})
		reply.send(Response{Done: true})
	case OpGrants:
		given, revoked := s.Supervisor.Live()
		reply.send(Response{Grants: s.Supervisor.Grants(), Live: given, Revoked: revoked})
	case OpEvents:
		s.events(ctx, req, reply)
	case OpStop:
		s.Supervisor.Stop()
		select {
		case <-s.Stopped:
			reply.send(Response{})
			<-ctx.Done() // our end of the connection goes when we do
		case <-ctx.Done():
		}
	default:
		reply.send(Response{Error: "no operation " + string(req.Op), Code: 125})
	}
}

// order has services replaced, stopped or started. It is done to its end even if whoever asked does
// not wait for that.
func (s *Server) order(ctx context.Context, user int, req Request, reply *replier) {
	say := func(text string) { reply.send(Response{Said: text}) }
	ctx = context.WithoutCancel(ctx)
	var err error
	switch within := time.Duration(req.Within); req.Order {
	case "restart":
		err = s.Supervisor.Restart(ctx, req.Services, within, user, say)
	case "stop":
		err = s.Supervisor.Halt(ctx, req.Services, user, say)
	case "start":
		err = s.Supervisor.Resume(ctx, req.Services, within, user, say)
	default:
		err = fmt.Errorf("no order %q", req.Order)
	}
	if err != nil {
		reply.send(Response{Error: err.Error(), Code: 125})
		return
	}
	reply.send(Response{Done: true})
}

// reload makes another manifest that of the application, or says what that takes. It is done
// to its end like an order.
func (s *Server) reload(ctx context.Context, user int, req Request, files []*os.File, reply *replier) {
	fail := func(err error) { reply.send(Response{Error: err.Error(), Code: 125}) }
	if req.Written == nil || len(files) != 1 {
		fail(errors.New("reload: a manifest belongs to it"))
		return
	}
	data, err := io.ReadAll(io.NewSectionReader(files[0], 0, supervisor.MaxWritten+1))
	if err != nil {
		fail(fmt.Errorf("reload: %w", err))
		return
	}
	w := *req.Written
	w.Data = data
	var plan *supervisor.Plan
	if req.DryRun {
		plan, err = s.Supervisor.Plan(w)
	} else {
		say := func(text string) { reply.send(Response{Said: text}) }
		plan, err = s.Supervisor.Reload(context.WithoutCancel(ctx), w, time.Duration(req.Within), user, say)
	}
	if plan != nil {
		reply.send(Response{Plan: plan})
	}
	if err != nil {
		fail(err)
		return
	}
	reply.send(Response{Done: true})
}

// change grants or revokes something on behalf of user.
func (s *Server) change(ctx context.Context, user int, req Request, reply *replier) {
	if req.Live == nil || req.For < 0 {
		reply.send(Response{Error: string(req.Op) + ": nothing to " + string(req.Op), Code: 125})
		return
	}
	var c supervisor.Change
	var err error
	if req.Op == OpGrant {
		c, err = s.Supervisor.Give(ctx, *req.Live, time.Duration(req.For), user)
	} else {
		c, err = s.Supervisor.Revoke(ctx, *req.Live, user)
	}
	if err != nil {
		reply.send(Response{Error: err.Error(), Code: 125})
		return
	}
	reply.send(Response{Change: &c})
}

func (s *Server) exec(ctx context.Context, req Request, files []*os.File, reply *replier) {
	if len(files) != 3 {
		reply.send(Response{Error: "exec: three streams belong to it", Code: 125})
		return
	}
	cmd := executor.Command{Args: req.Args, Env: req.Env, Dir: req.Dir, Stdin: files[0], Stdout: files[1], Stderr: files[2]}
	exit, err := s.Supervisor.Exec(ctx, req.Service, cmd)
	if err != nil {
		reply.send(Response{Error: err.Error(), Code: ExitCode(err)})
		return
	}
	reply.send(Response{Exit: &exit})
}

// ExitCode is the exit code for an error of starting a program: 127 if it was
// not found, 126 if it was found and cannot be executed, 125 for the rest.
func ExitCode(err error) int {
	var start *executor.StartError
	switch {
	case !errors.As(err, &start):
		return 125
	case errors.Is(start.Err, fs.ErrNotExist), errors.Is(start.Err, syscall.ENOTDIR):
		return 127
	}
	return 126
}

// replier writes responses, one at a time.
type replier struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func (r *replier) send(resp Response) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.enc.Encode(resp)
}
