// Package link is what the trusted process and its spawner say to each other.
//
// They share one Unix stream socket. A message is a header of 12 bytes, which
// carries the descriptors, and a body in gob, one continuous gob stream each
// way. The trusted process sends [Request]s, the spawner [Reply]s: one for each
// request, and one [Exited] for each environment it reported as started.
// Neither side trusts the other less than itself; the bounds are there so that
// a bug shows at once.
//
// Trusted: yes. A descriptor that goes to the wrong environment is an escape.
package link

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"cofferdam/executor"
	"cofferdam/internal/linux"
)

// MaxMessage is the largest body, in bytes.
const MaxMessage = 16 << 20

// Hello is the first message to a spawner.
type Hello struct {
	App     string   // a DNS label: the name in cgroups and messages
	UIDBase uint32   // first host id of the range that this spawner may use
	UIDs    uint32   // how many; 0 means the single id of an ordinary user
	User    bool     // the spawner lives in a user namespace of its own
	Roots   []string // directories that sources of mounts must lie below; nil means any
	Volumes string   // directory for what MountVolume names; "" for none
	Budget  Budget   // what all environments together may use
	Warm    int      // environments prepared ahead
	Parent  int      // pid of the trusted process
	IDNote  string   // how the ids came about, for people
	IDFix   string   // and what would give more of them
	// ScopeNote says why systemd gave us no cgroup of our own, for people.
	ScopeNote string
}

// Budget bounds an application. A field that is not positive is no limit.
type Budget struct {
	MemoryBytes int64
	Pids        int // processes and threads of programs
	Instances   int // environments at a time
}

// Request is a message to the spawner. Exactly one of the
// fields after Env is set.
type Request struct {
	ID  uint64
	Env uint64 // the environment that it is about; 0 with Hello, Start, Prepare, Open and Cancel

	Hello   *Hello
	Start   *Start // descriptors: the three streams, then Extra
	Prepare *Prepare
	Kill    *Kill
	Signal  *Signal
	Usage   bool
	Dial    *Dial  // answered with sockets
	Reach   *Reach // answered with sockets
	Owns    bool   // descriptor: a pidfd
	Lock    bool   // descriptor: a connected socket
	Exec    *Exec  // descriptors: the three streams
	Mount   *Mount // descriptor: the directory, unless it is a volume
	Unmount *Unmount
	Open    *Open  // answered with the directory
	Cancel  uint64 // an Exec whose program is to be killed
}

// Start starts one.
type Start struct {
	Env           uint64 // chosen by the client, never used twice
	Name          string
	Command       Command
	Mounts        []executor.Mount
	Hosts         []executor.Host
	Listen        []netip.AddrPort
	Limits        executor.Limits // complete: no zero field
	AllowDegraded []string
	Fork          *executor.Fork // nil to execute
	Sendfile      bool
	Ahead         *executor.Ahead
}

// Prepare has so many environments like Spec, whose Env says nothing, wait from now on.
type Prepare struct {
	Spec  *Start
	Count int
}

// Command is the part of executor.Command that crosses.
type Command struct {
	Args, Env []string
	Dir       string
}

// Kill ends one.
type Kill struct {
	Cause  executor.Cause
	Detail string
	Limit  string
	Key    string
}

// Signal signals its program.
type Signal struct{ Signal syscall.Signal }

// Reach says anew which names resolve in it, and asks for further listeners.
type Reach struct {
	Hosts  []executor.Host
	Listen []netip.AddrPort
}

// Dial asks for unconnected TCP sockets in its network; or, with Diag, for one of
// sock_diag(7), by which the kernel says how those fare that are there.
type Dial struct {
	V6    bool
	Count int
	Diag  bool
}

// Exec runs a further program in it; the reply comes when that has ended.
type Exec struct{ Command Command }

// Mount shows a directory of the host in it.
type Mount struct {
	Volume    string // its name; "" for a directory, which comes as a descriptor
	Target    string
	Writable  bool
	SizeBytes int64
	Inodes    int64
}

// Unmount takes a mount away.
type Unmount struct{ Target string }

// Open opens a directory of the host.
type Open struct{ Dir string }

// Reply is a message from the spawner.
type Reply struct {
	ID  uint64 // of the request; 0 with Exited
	Err *Error

	Protections []executor.Protection // to Hello
	Pid         int                   // to Start
	Usage       executor.Usage
	Owns        bool
	Exit        executor.Exit // to Exec
	Exited      *Exited
}

// Exited tells that an environment has ended and left nothing behind.
type Exited struct {
	Env  uint64
	Exit executor.Exit
}

// The kinds of errors that callers tell apart.
const (
	KindUnsupported = "unsupported"
	KindStopped     = "stopped"
	KindStart       = "start"
)

// Error is an error that crosses.
type Error struct {
	Kind  string // "" for all the rest
	Text  string
	Path  string // KindStart
	Errno syscall.Errno
}

// FromError packs err.
func FromError(err error) *Error {
	if err == nil {
		return nil
	}
	var start *executor.StartError
	switch {
	case errors.As(err, &start):
		e := &Error{Kind: KindStart, Path: start.Path, Text: err.Error()}
		errors.As(start.Err, &e.Errno)
		return e
	case errors.Is(err, executor.ErrUnsupported):
		return &Error{Kind: KindUnsupported, Text: err.Error()}
	case errors.Is(err, executor.ErrStopped):
		return &Error{Kind: KindStopped, Text: err.Error()}
	}
	return &Error{Text: err.Error()}
}

// Err unpacks it: the text of the spawner, and the sentinels of executor.
func (e *Error) Err() error {
	if e == nil {
		return nil
	}
	switch e.Kind {
	case KindStart:
		return &executor.StartError{Path: e.Path, Err: e.Errno}
	case KindUnsupported:
		return &crossed{e.Text, executor.ErrUnsupported}
	case KindStopped:
		return executor.ErrStopped
	}
	return errors.New(e.Text)
}

// crossed is an error whose text already holds that of the sentinel it wraps.
type crossed struct {
	text string
	is   error
}

func (e *crossed) Error() string { return e.text }
func (e *crossed) Unwrap() error { return e.is }

// Conn is one end. Send is safe for concurrent use; Receive is for one goroutine.
type Conn struct {
	f *os.File

	mu  sync.Mutex // held while a message is encoded and written
	out bytes.Buffer
	enc *gob.Encoder

	in  bytes.Buffer
	dec *gob.Decoder
}

// NewConn takes over the Unix stream socket fd.
func NewConn(fd int) *Conn {
	syscall.SetNonblock(fd, true)
	c := &Conn{f: os.NewFile(uintptr(fd), "link")}
	c.enc = gob.NewEncoder(&c.out)
	c.dec = gob.NewDecoder(&c.in)
	return c
}

// Close ends the connection; a pending Receive returns.
func (c *Conn) Close() error { return c.f.Close() }

// SetReadDeadline bounds a Receive.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.f.SetReadDeadline(t) }

// Send sends msg with the descriptors fds, which stay the caller's.
func (c *Conn) Send(msg any, fds []int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Reset()
	c.out.Write(make([]byte, headerBytes))
	if err := c.enc.Encode(msg); err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	b := c.out.Bytes()
	n := len(b) - headerBytes
	if n > MaxMessage {
		// The stream of types may now differ between the ends: give it up.
		c.f.Close()
		return fmt.Errorf("a message of %d bytes: at most %d", n, MaxMessage)
	}
	binary.LittleEndian.PutUint64(b, uint64(n))
	binary.LittleEndian.PutUint32(b[8:], uint32(len(fds)))
	return linux.SendFDs(c.f, b, fds)
}

const headerBytes = 12

// Receive fills msg, a pointer to a zero value, and returns the descriptors that came with it.
func (c *Conn) Receive(msg any) ([]int, error) {
	var head [headerBytes]byte
	fds, err := linux.RecvFDs(c.f, head[:])
	if err != nil {
		return nil, err
	}
	n, nfds := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint32(head[8:])
	if n > MaxMessage || int(nfds) != len(fds) {
		linux.CloseFDs(fds)
		return nil, fmt.Errorf("a message of %d bytes with %d of %d descriptors", n, len(fds), nfds)
	}
	c.in.Reset()
	if _, err = c.in.ReadFrom(&exactly{c.f, int(n)}); err == nil {
		err = c.dec.Decode(msg)
	}
	if err != nil {
		linux.CloseFDs(fds)
		return nil, fmt.Errorf("decode a message: %w", err)
	}
	return fds, nil
}
