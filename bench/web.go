package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"cofferdam/bench/own"
)

// proxy is a reverse proxy as Debian has it, with a configuration that keeps
// connections to both sides and writes no log.
type proxy struct {
	name, how string
	version   []string
	config    string // LISTEN, BACKEND and DIR stand for what they are
	file      string
	args      []string // DIR and FILE the same
	env       []string
}

var (
	nginx = proxy{
		name: "nginx", how: "worker_processes auto, 64 connections kept to the backend, no access log", version: []string{"-v"},
		file: "nginx.conf", args: []string{"-p", "DIR", "-e", "DIR/error.log", "-c", "FILE"},
		config: `daemon off;
worker_processes auto;
pid DIR/pid;
error_log DIR/error.log;
events { worker_connections 1024; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	upstream backend { server BACKEND; keepalive 64; keepalive_requests 1000000000; }
	server {
		listen LISTEN;
		location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
	}
}
`,
	}
	caddy = proxy{
		name: "Caddy", how: "reverse_proxy, no access log, no admin endpoint", version: []string{"version"},
		file: "Caddyfile", args: []string{"run", "--config", "FILE", "--adapter", "caddyfile"}, env: []string{"HOME=DIR", "XDG_DATA_HOME=DIR", "XDG_CONFIG_HOME=DIR"},
		config: `{
	admin off
	auto_https off
}
http://LISTEN {
	reverse_proxy BACKEND
}
`,
	}
)

func (p proxy) command() string { return strings.ToLower(p.name) }

func (p proxy) contestant(conns int) contestant { return p.before(conns, p.name, p.how, nil) }

// grouped is the same where it and its backend have a cgroup each, as every environment has.
func (p proxy) grouped(conns int) contestant {
	return p.before(conns, p.name+", grouped", "the same; it and its backend in a cgroup each, as environments are", groups)
}

// before is a proxy before a backend of its own. apart, if there is one, keeps the two process trees apart until
// what it returns is called, when both have ended.
func (p proxy) before(conns int, name, how string, apart func(name string, pids ...int) (func(), error)) contestant {
	return contestant{
		name: name, how: how,
		version: func() string { return strings.TrimPrefix(output(p.command(), p.version...), "nginx version: ") },
		open: func() (runner, error) {
			if err := found(p.command()); err != nil {
				return runner{}, err
			}
			o, err := ours()
			if err != nil {
				return runner{}, err
			}
			backend, err := o.Listening("web-serve")
			if err != nil {
				return runner{}, err
			}
			addr, pid, stop, err := p.start(backend.Addr)
			if err != nil {
				backend.Stop()
				return runner{}, err
			}
			stopAll := func() { stop(); backend.Stop() }
			if apart != nil {
				together, err := apart(p.command(), pid, backend.Pid())
				if err != nil {
					stopAll()
					return runner{}, err
				}
				inner := stopAll
				stopAll = func() { inner(); together() }
			}
			return runner{close: stopAll, run: func(count int) (own.Reading, error) {
				return o.Load(addr, addr, conns, count)
			}}, nil
		},
	}
}

func (p proxy) start(backend string) (addr string, pid int, stop func(), err error) {
	dir, err := os.MkdirTemp("/tmp", "bench-"+p.command()+"-")
	if err != nil {
		return "", 0, nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	if err = os.Chmod(dir, 0o755); err != nil { // nginx does not stay root
		return "", 0, nil, err
	}
	if addr, err = freePort(); err != nil {
		return "", 0, nil, err
	}
	file := filepath.Join(dir, p.file)
	fill := strings.NewReplacer("LISTEN", addr, "BACKEND", backend, "DIR", dir, "FILE", file).Replace
	if err = os.WriteFile(file, []byte(fill(p.config)), 0o644); err != nil {
		return "", 0, nil, err
	}
	cmd := exec.Command(p.command())
	for _, a := range p.args {
		cmd.Args = append(cmd.Args, fill(a))
	}
	cmd.Env = os.Environ()
	for _, e := range p.env {
		cmd.Env = append(cmd.Env, fill(e))
	}
	log := filepath.Join(dir, "log")
	said, err := os.Create(log)
	if err != nil {
		return "", 0, nil, err
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	if err = cmd.Start(); err != nil {
		return "", 0, nil, err
	}
	if err = waitFor(addr); err != nil {
		stopServer(cmd)
		text, _ := os.ReadFile(log)
		return "", 0, nil, fmt.Errorf("%w: %s", err, text)
	}
	return addr, cmd.Process.Pid, func() { stopServer(cmd); os.RemoveAll(dir) }, nil
}

// alone is the backend without anybody before it: the limit.
func alone(conns int) contestant {
	return contestant{name: "backend alone", how: "net/http, 528 bytes", open: func() (runner, error) {
		o, err := ours()
		if err != nil {
			return runner{}, err
		}
		s, err := o.Listening("web-serve")
		if err != nil {
			return runner{}, err
		}
		return runner{close: s.Stop, run: func(count int) (own.Reading, error) { return o.Load(s.Addr, s.Addr, conns, count) }}, nil
	}}
}
