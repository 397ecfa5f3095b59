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

func (p proxy) contestant(conns int) contestant {
	return contestant{
		name: p.name, how: p.how,
		version: func() string { return strings.TrimPrefix(output(p.command(), p.version...), "nginx version: ") },
		open: func() (runner, error) {
			if err := found(p.command()); err != nil {
				return runner{}, err
			}
			o, err := ours()
			if err != nil {
				return runner{}, err
			}
			backend, stopBackend, err := o.Listening("web-serve")
			if err != nil {
				return runner{}, err
			}
			addr, stop, err := p.start(backend)
			if err != nil {
				stopBackend()
				return runner{}, err
			}
			return runner{close: func() { stop(); stopBackend() }, run: func(count int) (own.Reading, error) {
				return o.Load(addr, addr, conns, count)
			}}, nil
		},
	}
}

func (p proxy) start(backend string) (addr string, stop func(), err error) {
	dir, err := os.MkdirTemp("/tmp", "bench-"+p.command()+"-")
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	if err = os.Chmod(dir, 0o755); err != nil { // nginx does not stay root
		return "", nil, err
	}
	if addr, err = freePort(); err != nil {
		return "", nil, err
	}
	file := filepath.Join(dir, p.file)
	fill := strings.NewReplacer("LISTEN", addr, "BACKEND", backend, "DIR", dir, "FILE", file).Replace
	if err = os.WriteFile(file, []byte(fill(p.config)), 0o644); err != nil {
		return "", nil, err
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
		return "", nil, err
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	if err = cmd.Start(); err != nil {
		return "", nil, err
	}
	if err = waitFor(addr); err != nil {
		stopServer(cmd)
		text, _ := os.ReadFile(log)
		return "", nil, fmt.Errorf("%w: %s", err, text)
	}
	return addr, func() { stopServer(cmd); os.RemoveAll(dir) }, nil
}

// alone is the backend without anybody before it: the limit.
func alone(conns int) contestant {
	return contestant{name: "backend alone", how: "net/http, 528 bytes", open: func() (runner, error) {
		o, err := ours()
		if err != nil {
			return runner{}, err
		}
		addr, stop, err := o.Listening("web-serve")
		if err != nil {
			return runner{}, err
		}
		return runner{close: stop, run: func(count int) (own.Reading, error) { return o.Load(addr, addr, conns, count) }}, nil
	}}
}
