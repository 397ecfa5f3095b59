package fakeserver

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cofferdam/examples/isabelle/protocol"
)

// What the server says of itself.
const (
	isabelleID   = "29f2b8ff84f3"
	isabelleName = "Isabelle2025"
)

// Options are what a server is started with. Zero fields mean what is said there.
type Options struct {
	Name        string    // "isabelle"
	Port        int       // any free one
	Log         io.Writer // none
	Poly        string    // the one in PATH, or /usr/bin/poly
	Dir         string    // where relative paths start; the current directory
	Home        string    // of the server's user; $HOME, or else the directory of temporary files
	UserHome    string    // $ISABELLE_HOME_USER, or else .isabelle/Isabelle2025 there
	Temporary   string    // $ISABELLE_TMP_PREFIX, or else isabelle-… in the directory of temporary files
	Environment []string  // the server's own
}

// Complete returns the options with all defaults in place.
func (o Options) Complete() (Options, error) {
	if o.Environment == nil {
		o.Environment = os.Environ()
	}
	if o.Name == "" {
		o.Name = "isabelle"
	}
	if o.Poly == "" {
		o.Poly = "/usr/bin/poly"
		if found, err := exec.LookPath("poly"); err == nil {
			o.Poly = found
		}
	}
	var err error
	if o.Dir == "" {
		if o.Dir, err = os.Getwd(); err != nil {
			return o, err
		}
	}
	if o.Home == "" {
		if o.Home = o.variable("HOME"); o.Home == "" {
			o.Home = os.TempDir()
		}
	}
	if o.UserHome == "" {
		if o.UserHome = o.variable("ISABELLE_HOME_USER"); o.UserHome == "" {
			o.UserHome = filepath.Join(o.Home, ".isabelle", isabelleName)
		}
	}
	if o.Temporary == "" {
		if o.Temporary = o.variable("ISABELLE_TMP_PREFIX"); o.Temporary == "" {
			o.Temporary = filepath.Join(os.TempDir(), fmt.Sprintf("isabelle-%d", os.Getuid()))
		}
	}
	return o, nil
}

func (o Options) variable(name string) string {
	for _, line := range o.Environment {
		if v, ok := strings.CutPrefix(line, name+"="); ok {
			return v
		}
	}
	return ""
}

// Server is one that listens.
type Server struct {
	Password string
	Port     int

	o        Options
	listener net.Listener
	log      *log
	over     sync.Once
	ended    chan struct{} // closed when the process may end

	mu       sync.Mutex
	sessions map[string]*session
}

// Listen makes a server that has its address, as its line tells it, and does
// nothing before Serve.
func Listen(o Options) (*Server, error) {
	o, err := o.Complete()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", o.Port))
	if err != nil {
		return nil, err
	}
	return &Server{
		Password: uuid(), Port: listener.Addr().(*net.TCPAddr).Port,
		o: o, listener: listener, log: &log{to: o.Log}, ended: make(chan struct{}), sessions: make(map[string]*session),
	}, nil
}

// Line is what the server prints first.
func (s *Server) Line() string { return Line(s.o.Name, s.Port, s.Password) }

// Line is what a server with this name prints.
func Line(name string, port int, password string) string {
	return fmt.Sprintf("server %q = 127.0.0.1:%d (password %q)", name, port, password)
}

// Serve answers until the server is shut down.
func (s *Server) Serve() error {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			if isClosed(err) {
				<-s.ended
				return nil
			}
			time.Sleep(10 * time.Millisecond) // no more descriptors, say
			continue
		}
		go s.handle(conn)
	}
}

// Close ends the server.
func (s *Server) Close() { s.shutdown(func() {}) }

// shutdown stops all sessions and the listener, has the client told, and ends the server.
func (s *Server) shutdown(tell func()) {
	s.over.Do(func() {
		s.mu.Lock()
		sessions := s.sessions
		s.sessions = nil
		s.mu.Unlock()
		for _, n := range sessions {
			n.close()
		}
		s.listener.Close()
		tell()
		close(s.ended)
	})
}

// add keeps a session, unless the server is shutting down.
func (s *Server) add(n *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions == nil {
		return false
	}
	s.sessions[n.id] = n
	return true
}

func (s *Server) session(id string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.sessions[id]; ok {
		return n, nil
	}
	return nil, fmt.Errorf("%s", protocol.NoSession(id))
}

// remove takes a session away from the others.
func (s *Server) remove(id string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.sessions[id]
	if !ok {
		return nil, fmt.Errorf("%s", protocol.NoSession(id))
	}
	delete(s.sessions, id)
	return n, nil
}

// variable is one of the server's environment, as paths may name them.
func (s *Server) variable(name string) string {
	if v := s.o.variable(name); v != "" {
		return v
	}
	switch name {
	case "HOME":
		return s.o.Home
	case "ISABELLE_HOME":
		return "/usr/share/isabelle"
	case "ISABELLE_HOME_USER":
		return s.o.UserHome
	case "ISABELLE_TMP_PREFIX":
		return s.o.Temporary
	}
	return ""
}

func (s *Server) expand(text string) (path, error) {
	p, err := explode(text)
	if err != nil {
		return p, err
	}
	return p.expand(s.variable)
}

// uuid is a random one of version 4.
func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// log is the file of -L. Like the original's it has no bound.
type log struct {
	mu sync.Mutex
	to io.Writer
}

func (l *log) print(format string, args ...any) {
	if l.to == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.to, time.Now().Format("2006-01-02 15:04:05.000")+" "+format+"\n", args...)
}
