// Package server is what runs in the instance of a tenant: it starts an Isabelle
// server, which listens where it likes and draws a password that nobody has to know,
// and leads connections to one port on to it.
//
// On each connection it says a line with the name of the instance first, and reads one
// that says where the tenant's directory for sessions has been mounted meanwhile. Then the
// connection is that of the server, after its password.
//
// Trusted: no. The theories of the tenant can do to it what they like.
package server

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"cofferdam/examples/isabelle/protocol"
)

// Options say what is started, and where.
type Options struct {
	Command  []string // that becomes the server, and says so
	Env      []string // of it
	Sessions string   // the name under which it has the directories of sessions
	Log      *slog.Logger
}

// banner is what a server says when it listens.
var banner = regexp.MustCompile(`^server "[^"]*" = (127\.0\.0\.1:[0-9]{1,5}) \(password "([^"]+)"\)$`)

// Server is an Isabelle server that runs.
type Server struct {
	o        Options
	cmd      *exec.Cmd
	name     string // drawn at random, so that who connects again knows whether it is the same
	address  string
	password string

	mu       sync.Mutex
	sessions string // where the tenant's directory is mounted; "" if that was not said yet
}

// Start starts the server, and returns when it listens.
func Start(ctx context.Context, o Options) (*Server, error) {
	s := &Server{o: o, name: rand.Text(), cmd: exec.CommandContext(ctx, o.Command[0], o.Command[1:]...)}
	s.cmd.Env, s.cmd.Stderr = o.Env, os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if m := banner.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			s.address, s.password = m[1], m[2]
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%q has not said where it listens: %w", o.Command, errors.Join(err, s.cmd.Wait()))
		}
		fmt.Fprint(os.Stdout, line)
	}
	go io.Copy(os.Stdout, lines)
	return s, nil
}

// Wait returns when the server has ended.
func (s *Server) Wait() error { return s.cmd.Wait() }

// Serve leads connections on until l is closed.
func (s *Server) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := s.lead(conn); err != nil {
				s.o.Log.Warn("connection", "error", err)
			}
		}()
	}
}

// lead is one connection.
func (s *Server) lead(near net.Conn) error {
	if _, err := fmt.Fprintf(near, "instance %s\n", s.name); err != nil {
		return err
	}
	in := bufio.NewReaderSize(near, 1024)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("no first line: %w", err)
	}
	if err := s.place(strings.TrimSuffix(string(line), "\n")); err != nil {
		near.Write(protocol.UserError(err.Error()).Frame())
		return err
	}
	far, err := net.Dial("tcp", s.address)
	if err != nil {
		return err
	}
	defer far.Close()
	if _, err := io.WriteString(far, s.password+"\n"); err != nil {
		return err
	}
	go func() {
		io.Copy(far, in)
		far.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(near, opening{far, s})
	return err
}

// place has the server's name for the directories of sessions lead to where they are to be.
func (s *Server) place(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("bad directory for sessions: %.100q", dir)
	}
	if dir == s.sessions {
		return nil
	}
	if err := os.Mkdir(dir, 0o777); err == nil {
		os.Chmod(dir, 0o777|os.ModeSticky)
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("no directory for sessions: %w", err)
	}
	if err := syscall.Access(dir, 2|1); err != nil { // to write and to search
		return fmt.Errorf("a directory for sessions that others may not write to: %q: %w", dir, err)
	}
	if err := os.Remove(s.o.Sessions); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(dir, s.o.Sessions); err != nil {
		return err
	}
	s.sessions = dir
	return nil
}

// opening reads what a server says. Before that goes on, the directories of which
// it may tell are opened to the tenant, who is another user outside.
type opening struct {
	io.Reader
	of *Server
}

func (o opening) Read(b []byte) (int, error) {
	n, err := o.Reader.Read(b)
	o.of.openSessions()
	return n, err
}

func (s *Server) openSessions() {
	dirs, err := os.ReadDir(s.o.Sessions)
	if err != nil {
		return
	}
	for _, d := range dirs {
		if info, err := d.Info(); err == nil && d.IsDir() && info.Mode().Perm() == 0o700 {
			os.Chmod(filepath.Join(s.o.Sessions, d.Name()), 0o777)
		}
	}
}
