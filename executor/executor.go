// Package executor says how a process is kept apart.
//
// An [Executor] turns a [Spec] (files, descriptors, limits) into a running
// [Process]: an environment in which nothing is reachable but what the spec
// lists. It knows mounts, descriptors, limits and exits; it knows nothing of
// manifests or grants.
//
// Trusted: yes. A wrong mount or a missing filter is an escape.
package executor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Unlimited switches a limit off. Nothing is unlimited unless somebody wrote it.
const Unlimited = -1

// ErrUnsupported is wrapped by every error that names a protection this host
// cannot give; the text says which one, and what would provide it.
var ErrUnsupported = errors.New("not supported by this host")

// ErrStopped is returned by operations on a process that has ended.
var ErrStopped = errors.New("environment has ended")

// Executor starts environments. It is safe for concurrent use.
type Executor interface {
	// Start builds the environment and returns once its program has been
	// executed. On error nothing is left behind. An error that the program
	// itself could not be executed is a [*StartError].
	Start(ctx context.Context, spec *Spec) (Process, error)

	// Prepare has n environments wait that are like the one of spec up to what is one
	// instance's alone, and returns once they do. Start takes one of them if it is to start
	// such a one and any is left, each once, and another one is prepared in its place.
	// Environments are alike if their specs agree in Mounts, Hosts and Limits, but for the
	// sources of sockets and volumes, the files in a MountFiles, and the limits Wall and
	// OutputBytes. What was asked for under another Name waits besides. Zero ends what was asked for under this one;
	// so does an error. Of what is forked the interpreter waits, and as many
	// forks as [Fork] says. If the spec says Ahead they agree in that, Dir and Sendfile too, and interpreters
	// wait in them.
	Prepare(ctx context.Context, spec *Spec, n int) error

	// Open opens a directory of the host, an absolute path without links, so
	// that it and what lies beneath it can be shown with [Process.Mount]. The
	// descriptor is O_PATH: it is good for walking and for nothing else.
	Open(ctx context.Context, dir string) (*os.File, error)

	// Protections tells, without starting anything, what this host gives.
	Protections() []Protection

	// Close kills every environment and releases what the executor holds.
	Close() error
}

// Process is one environment. It is safe for concurrent use.
type Process interface {
	// Pid is the host's number of the environment's init, for messages only:
	// never use it to find out who somebody is.
	Pid() int

	// Listeners are the sockets of Spec.Listen, in its order: opened inside
	// the environment's network before its program ran, held by us.
	Listeners() []net.Listener

	// Reach makes hosts the entries of /etc/hosts besides localhost, and opens further
	// TCP listeners like those of Spec.Listen, while the environment runs.
	Reach(ctx context.Context, hosts []Host, listen []netip.AddrPort) ([]net.Listener, error)

	// Dial connects to an address inside the environment's network.
	Dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error)

	// Reading is how many bytes that were written to c, a connection that Dial made,
	// programs inside have read, and how many not: the first may be too few by what has passed
	// meanwhile. An error that wraps ErrUnsupported is one of the host.
	Reading(c net.Conn) (read int64, unread int, err error)

	// Hand is Dial for a program of another environment, whose spec does not say Sendfile: it may get
	// the socket. Nothing can be done with that in this environment's network but to use and to
	// end this connection, whatever its holder tries. It may be kept beyond the end of
	// this environment, whose network then is not to be anybody else's.
	Hand(ctx context.Context, addr netip.AddrPort) (net.Conn, error)

	// Owns tells whether the process that pidfd refers to belongs to this
	// environment. A dead or foreign process is false without an error.
	Owns(pidfd *os.File) (bool, error)

	// Exec runs a further program inside, under the same restrictions and
	// limits, with the streams of cmd. It returns when that program has ended.
	Exec(ctx context.Context, cmd *Command) (Exit, error)

	// Mount shows a directory of the host or a volume inside while the environment runs;
	// Unmount takes it away, and its mount point. What has been opened there
	// by then stays open.
	Mount(ctx context.Context, s Share) error
	Unmount(ctx context.Context, target string) error

	// Signal delivers sig to the program (not to the init). For a polite stop.
	Signal(sig syscall.Signal) error

	// Kill ends the whole tree now. The first cause given is the one reported;
	// detail says more ("wall limit 5s"). Killing what has ended is no error.
	Kill(cause Cause, detail string)

	// Done is closed when the tree has ended and everything is released.
	Done() <-chan struct{}

	// Exit is how it ended; valid once Done is closed.
	Exit() Exit

	// Usage is what the tree has used up to now.
	Usage() Usage
}

// Command is a program and its streams. A nil stream is /dev/null. A stream
// that is an *os.File is handed over as it is; any other is copied, and counted
// against Limits.OutputBytes.
type Command struct {
	Args  []string // Args[0] is a path inside, or a name looked up in PATH of Env
	Env   []string // the whole environment, "K=V"; nothing is added or inherited
	Dir   string   // "" means "/"
	Stdin interface {
		Read([]byte) (int, error)
	}
	Stdout, Stderr interface {
		Write([]byte) (int, error)
	}
}

// Spec is everything an environment may touch. The zero value is an
// environment with no files at all, which can run nothing.
type Spec struct {
	Name    string // a label of DNS, at most 48 bytes: cgroup and host name
	Command Command

	Mounts []Mount          // outer targets before inner ones, no two alike
	Hosts  []Host           // entries of /etc/hosts besides localhost
	Listen []netip.AddrPort // TCP listeners to open inside, before the program
	Extra  []*os.File       // descriptors 3, 4, …: the only ones inherited

	Limits Limits

	// Fork has the program be a fork of an interpreter that waits. nil executes it.
	Fork *Fork

	// Ahead has the program be executed before it is wanted, in environments that are prepared
	// for specs like this one. Where none waits it is executed when it is wanted. Not with Fork or
	// Extra.
	Ahead *Ahead

	// Sendfile says that its programs may move memory by reference, between sockets, pipes and files (sendfile(2),
	// splice(2), tee(2), MSG_ZEROCOPY). What they send is theirs to change until it is read. So they must not be given
	// sockets of other environments, see [Process.Hand].
	Sendfile bool

	// AllowDegraded names protections (see Protection.Name) that may be
	// missing on this host. Any other missing one makes Start fail.
	AllowDegraded []string
}

// Fork says which interpreter a program is forked from: one that has been started
// before and has loaded modules, in an environment of its own, with the spec's files
// that any of its instances sees and nothing else of the spec. Environments of specs
// that are the same in that are forked from the same one.
//
// What is run is not checked to be a program of that interpreter. A fork shares with its
// siblings where things lie in memory, and the seed of hashes.
type Fork struct {
	// Interpreter is python3 with its options, the beginning of Spec.Command.Args.
	// After it come FILE, -c CODE, -m MODULE or -, and arguments.
	Interpreter []string
	// Modules are loaded before: names, or paths inside to files NAME.py.
	Modules []string
	// Env is the environment of the interpreter while it waits: "K=V".
	Env []string
	// Spares is how many forks wait ahead. 0 means 2.
	Spares int
}

// Ahead says what is executed in a prepared environment, and waits: an interpreter that has loaded
// modules. Each is used once, so that no two programs have anything in common that two which were executed have not.
// It is all that there is before the environment is anybody's, and is under all of its limits.
type Ahead struct {
	// Interpreter is the beginning of Spec.Command.Args: python3 with its options, after which come
	// FILE, -c CODE, -m MODULE or -, and arguments; or node with its options and FILE, or -e CODE, after which
	// come arguments.
	Interpreter []string
	// Modules are loaded before: of Python names, or paths inside to files NAME.py; of Node.js what
	// require takes where FILE lies.
	Modules []string
	// Env is the environment of the interpreter while it waits: "K=V". What it looks at as it starts
	// is of that.
	Env []string
}

// Node tells whether a is about Node.js, and not about Python.
func (a *Ahead) Node() bool {
	base := path.Base(a.Interpreter[0])
	return base == "node" || base == "nodejs"
}

// Host is a name that resolves inside the environment.
type Host struct {
	Name string
	Addr netip.Addr
}

// MountKind says what a Mount shows.
type MountKind int

// The kinds of mounts.
const (
	// MountBind shows a host file or directory; read-only unless Writable.
	// Never more than nosuid, nodev. A writable one has SizeBytes as quota.
	MountBind MountKind = iota
	// MountTmpfs is an empty file system in memory with SizeBytes and Inodes.
	MountTmpfs
	// MountFile is a read-only file with the content Data.
	MountFile
	// MountSymlink is a symbolic link to Source.
	MountSymlink
	// MountSocket shows a Unix socket of the host that programs may connect to.
	MountSocket
	// MountRuntime shows the host's /usr, /lib*, /bin, /sbin and the few files
	// of /etc that an interpreter needs, read-only. It has no Source or Target.
	MountRuntime
	// MountPoints is an empty directory that no program can write to, for what
	// [Process.Mount] shows. Writable says that some of that may be writable, and
	// SizeBytes is the least quota that such will have.
	MountPoints
	// MountVolume is storage that stays, made the first time: Source is its name.
	// Where the host can, it is a file system with SizeBytes and Inodes; otherwise,
	// or with Unlimited, a directory with SizeBytes as quota.
	MountVolume
	// MountFiles is an empty directory that no program can write to. What is a MountFile
	// directly in it can differ between environments that are otherwise alike, see
	// [Executor.Prepare].
	MountFiles
)

// Mount is one thing in the environment's file tree.
type Mount struct {
	Kind      MountKind
	Source    string // host path, absolute and without links; a name for MountVolume
	Target    string // path inside, absolute and clean; never below /proc, /sys, /dev
	Writable  bool   // MountBind, MountVolume, MountPoints and MountTmpfs (which is pointless without)
	Data      []byte // MountFile
	Mode      os.FileMode
	SizeBytes int64 // 0 means the default of Limits; Unlimited is allowed for binds and volumes only
	Inodes    int64 // 0 means SizeBytes/4096, at least 256
}

// Share is a directory of the host shown in a running environment. Whatever is
// mounted beneath it is shown with it. Its files keep their owners: programs may
// what others than those may. Or it is a volume, which is what a MountVolume of the spec
// would be.
type Share struct {
	Dir       *os.File // from [Executor.Open], or a directory opened beneath such a one; nil for a volume
	Volume    string   // the name of a volume, "" for a directory
	Target    string   // path inside: a new name directly below a MountPoints of the spec
	Writable  bool
	SizeBytes int64 // quota of a writable one, or size of a volume; 0 means the default of Limits
	Inodes    int64 // of a volume, see Mount
}

// MaxShares is how many can be shown below one MountPoints at a time.
const MaxShares = 256

// Limits bounds the whole tree. A zero field means the default that
// [DefaultLimits] gives; Unlimited switches it off.
type Limits struct {
	MemoryBytes int64
	Pids        int           // processes and threads of the program, init not counted
	CPUs        float64       // share: 1.5 is one and a half cores
	CPU         time.Duration // processor time, user and system, summed over the tree
	Wall        time.Duration // time since start
	OutputBytes int64         // of stdout and stderr together, when we copy them
	OpenFiles   int           // per process
	FileBytes   int64         // size of any single file written
	VolumeBytes int64         // default quota of a writable bind
	TmpBytes    int64         // size of /tmp and of /dev/shm, each
	Inotify     int           // instances of inotify(7), with InotifyWatches watches for each; 0 means none, which is the default
}

// InotifyWatches is how many files can be watched with each instance of inotify, and MaxInotify how many
// of those there can be: a user of the host has 128, usually, and all environments have their part of that.
const (
	InotifyWatches = 1024
	MaxInotify     = 128
)

// DefaultLimits is what applies where nothing else is written. CPU and Wall
// are unlimited: a service may run for ever; `run` and templates set them.
func DefaultLimits() Limits {
	return Limits{
		MemoryBytes: 256 << 20,
		Pids:        64,
		CPUs:        1,
		CPU:         Unlimited,
		Wall:        Unlimited,
		OutputBytes: 1 << 20,
		OpenFiles:   1024,
		FileBytes:   64 << 20,
		VolumeBytes: 64 << 20,
		TmpBytes:    16 << 20,
	}
}

// Cause is why an environment ended.
type Cause string

// The causes. All but exit and signal name a limit or a decision of ours.
const (
	CauseExit     Cause = "exit"
	CauseSignal   Cause = "signal"
	CauseOOM      Cause = "oom"
	CausePids     Cause = "pids"
	CauseCPU      Cause = "cpu"
	CauseWall     Cause = "wall"
	CauseOutput   Cause = "output"
	CauseDisk     Cause = "disk"
	CauseSeccomp  Cause = "seccomp"
	CausePolicy   Cause = "policy"   // stopped by the operator or the supervisor
	CauseInternal Cause = "internal" // our own fault or the host's
)

// Exit is how an environment ended.
type Exit struct {
	Cause  Cause  `json:"cause"`
	Code   int    `json:"code"`             // exit status; 128+n for signal n
	Signal int    `json:"signal,omitempty"` // of the program, 0 if it exited
	Limit  string `json:"limit,omitempty"`  // the limit that fired, with its value: "64MiB"
	Key    string `json:"key,omitempty"`    // the key of the manifest to change: "limits.memory"
	Detail string `json:"detail,omitempty"` // one sentence for people
	Usage  Usage  `json:"usage"`
}

// Usage is what a tree has used. Memory and Pids are peaks and 0 where the host
// does not count them.
type Usage struct {
	Wall        time.Duration `json:"wall_ns"`
	CPU         time.Duration `json:"cpu_ns"`
	MemoryBytes int64         `json:"memory_bytes"`
	Pids        int           `json:"pids"`
	OutputBytes int64         `json:"output_bytes"`
}

// Protection is one promise of isolation on this host.
type Protection struct {
	Name   string // "seccomp", "landlock", "cgroup.memory", "uid-range", …
	Status Status
	Detail string // what provides it, or what is missing
	Fix    string // the one command or setting that would provide it; "" if none is known
}

// ProtectionNames are those that an executor may list. A manifest that names
// another one is mistaken.
var ProtectionNames = []string{
	"user-namespace", "mount-namespace", "pid-namespace", "network-namespace", "ipc-namespace", "uts-namespace",
	"cgroup-namespace", "capabilities", "seccomp", "landlock", "uid-range", "disk-quota", "peer-identity", "cgroup.memory", "cgroup.pids", "cgroup.cpu",
}

// Lacking names those of all that the host lacks, or has a weaker mechanism for,
// and that allowed lets go.
func Lacking(all []Protection, allowed []string) []string {
	var names []string
	for _, p := range all {
		if p.Status != Pass && p.NamedIn(allowed) {
			names = append(names, p.Name)
		}
	}
	return names
}

// NamedIn tells whether names has the protection's name, or that of its group:
// "cgroup" stands for "cgroup.memory", "cgroup.pids" and so on.
func (p Protection) NamedIn(names []string) bool {
	group, _, _ := strings.Cut(p.Name, ".")
	return slices.Contains(names, p.Name) || slices.Contains(names, group)
}

// Status of a protection.
type Status string

// A protection is enforced, enforced by a weaker mechanism, or absent.
const (
	Pass     Status = "PASS"
	Degraded Status = "DEGRADED"
	Fail     Status = "FAIL"
)

// StartError says that the environment was ready but its program could not be
// executed: errno ENOENT (not found) or EACCES (not executable) and the like.
type StartError struct {
	Path string
	Err  error
}

func (e *StartError) Error() string { return "execute " + e.Path + ": " + e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }
