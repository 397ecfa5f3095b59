// Package manifest says what the operator asked for.
//
// [Load] turns cofferdam.yaml into an [App]: every default filled in, every
// name resolved, every contradiction refused with file, line and column.
// [App.Grants] is the whole of who may reach whom; nothing else grants.
//
// Trusted: yes. A grant that it invents is access nobody gave.
package manifest

import (
	"time"

	"cofferdam/guard"
	"cofferdam/label"
)

// Unlimited is the value of a limit for which "unlimited" was written.
const Unlimited = -1

// App is a checked manifest.
type App struct {
	File string // as given by the operator, for messages
	Dir  string // absolute directory that relative host paths start from
	Name string // [a-z0-9][a-z0-9-]*, at most 32 bytes

	Gateway    *Gateway    // nil without one
	Egress     *Egress     // nil if nothing was written of it
	Metrics    *Metrics    // nil if nobody is shown any
	Traces     *Traces     // nil if no calls are traced
	Principals []Principal // in the order of the file, as all that follows
	Services   []*Service  // templates included
	Mailboxes  []Mailbox
	Shares     []Share // none within another
	Asserts    []Assert

	AllowDegraded []string
	Budget        Budget
	Audit         Audit

	source  source  // what it was read from
	revoked []Grant // that are not given, though they are written

	names *names   // nil while it is being read
	table *granted // of its grants; nil for one that is not remembered
}

// Pos is a place in the manifest.
type Pos struct{ Line, Column int }

// Budget is what the application may use in all. A zero field leaves it to the host;
// see docs/MANIFEST.md.
type Budget struct {
	Pos       Pos
	Memory    int64
	Pids      int
	Instances int

	Principal Rates // of all that runs for one
}

// Gateway is the door for people.
type Gateway struct {
	Pos    Pos
	Listen string // host:port on the host, for HTTP; "" for none
	Routes []Route
	Limits GatewayLimits
	TCP    []Door

	person Endpoint // of a request without other labels, whose sender was recognised

	Authenticate *Authenticate // nil if nobody is told apart
}

// Door is a port of the host whose connections are led on to one of a service, as they
// are.
type Door struct {
	Pos         Pos
	Number      int           // among the routes, see numberRoutes
	Listen      string        // host:port on the host
	To          string        // service:port
	Connections int           // at a time, default 256
	PerPeer     int           // of them from one address, default 64
	Idle        time.Duration // how long one may last over which nothing comes, default 10 min
}

// GatewayLimits bounds what people may send.
type GatewayLimits struct {
	HeaderBytes int64         // default 16 KiB
	BodyBytes   int64         // default 1 MiB
	Timeout     time.Duration // until an answer begins, and then between pieces of it; default 60 s
	Stream      time.Duration // for an answer from its beginning on, default 1 h
	Answer      time.Duration // until an answer begins, from the end of the request; 0 for none of its own
	Idle        time.Duration // over which nothing comes on a web socket, default 10 min
	Connections int           // default 512

	PerPeer      int  // of them from one address; default half
	PerPrincipal int  // requests at a time of one principal; default a quarter of Connections
	Rate         Rate // of requests from one address
}

// Route sends paths to a service: first match wins.
type Route struct {
	Pos Pos

	Number int    // see numberRoutes
	Path   string // RE2, matched against the whole decoded path
	To     string // service

	Nobody string // the service of who was not recognised, "" for To
	Rate   Rate   // of requests by each person

	WebSocket bool // a request may become one

	// Request is the label of what a person sends here, Answer the bound on what
	// the person may be sent; see Labels.
	Endpoint
	Lenient bool // both are public for whoever is not recognised
}

// Labels is the pair of labels for a request of this principal, "" for one who was not
// recognised.
func (r Route) Labels(principal string) (guard.Endpoint, error) {
	if r.Lenient && principal == "" {
		return guard.Endpoint{}, nil
	}
	return r.For(principal)
}

// Open tells whether somebody who was not recognised can come this way.
func (r Route) Open() bool {
	return r.Lenient || !r.Request.NamesPrincipal() && !r.Answer.NamesPrincipal()
}

// Service is something to run: at once, or as a template when spawned.
type Service struct {
	Pos      Pos
	Name     string
	Template bool

	Runtime     string // "" or "host"
	Command     []string
	Environment []string // "K=V", sorted
	WorkingDir  string   // default "/"
	Sendfile    bool     // its programs may pass memory on by reference
	Files       []File
	Volumes     []Volume
	Tmpfs       []Tmpfs

	HTTP int   // port inside, 0 for none
	TCP  []int // ports inside

	// Of an instance: what it holds when it starts, what it may come to hold, and
	// over what it has power. The first two are those of the caller besides, of an
	// instance per call and per label.
	Label, Clearance Label
	Owns             Formula

	// PortLabels are those of HTTP and TCP that are not public. They and those of
	// Provides mean nothing with instances per call and per label: there they are
	// the label of the instance.
	PortLabels map[int]Endpoint

	// PortDeadlines are those of TCP that have one.
	PortDeadlines map[int]time.Duration

	// PortRates are those of HTTP and TCP that have some.
	PortRates map[int]Rates

	Stdio string // "" or "lines"

	Provides []Provide
	Uses     []Use

	Instances       string        // "shared", "per-call" (stdio, always), "per-label" or "per-principal" (a template, always)
	Idle            time.Duration // of an instance per label or per principal, default 1 min; 0 of others
	Warm            int           // instances that are ready before anybody asks: spares of those, or a standby of a shared one
	Fork            *Interpreter  // nil unless an instance is a fork
	Ahead           *Interpreter  // nil unless an instance is executed before
	MaxInstances    int           // of those at a time, default 16; 0 of others
	Limits          Limits
	Restart         Restart // Policy "no" and nothing else for templates and stdio
	DependsOn       []string
	StopGracePeriod time.Duration // default 10 s; 0 for templates and stdio

	Health      *Health // nil if nothing is checked; never of templates and stdio
	OnUnhealthy string  // Replace (default), Stop or Ignore; "" for templates and stdio
}

// File is a host file or directory shown read-only.
type File struct {
	Pos      Pos
	From, To string // From is absolute, links resolved
}

// Volume is storage that survives. Name may contain {principal} in a template.
type Volume struct {
	Pos       Pos
	Name, To  string
	SizeBytes int64
	Inodes    int64 // how many files; 0 with an unlimited size
	ReadOnly  bool
	Label     Label // fixed when it is made
}

// Tmpfs is scratch space in memory.
type Tmpfs struct {
	Pos       Pos
	To        string
	SizeBytes int64
	Inodes    int64
}

// Share is a host directory that may be mounted at run time, whole or in parts.
type Share struct {
	Pos       Pos
	Name      string
	From      string // absolute, links resolved
	Writable  bool
	SizeBytes int64 // of a writable one, default 64 MiB
	Label     label.Label
}

// Provide is a method that a service answers.
type Provide struct {
	Pos        Pos
	Call       string        // method name
	From       []string      // the only services that may call it: nobody if empty; nil leaves it to their uses
	FromPos    []Pos         // where each name of From stands
	Deadline   time.Duration // default 30 s
	Idempotent bool
	Endpoint
	Gate *Gate // nil if it is none
	Rate Rates

	fromGateway value // where From names the gateway, while the manifest is read
}

// Use is something that a service reaches for. Exactly one of Call, Spawn,
// Connect, Share, Egress, Post, Put and Take is set.
type Use struct {
	Pos     Pos
	Call    string // service.method
	Spawn   string // template
	Connect string // service:port
	Share   string // share
	Into    string // Share: the service that sees it, or "self"
	Egress  string // host:port
	Post    string // mailbox to send to blindly
	Put     string // mailbox to send to
	Take    string // mailbox to receive from
	Bound   bool   // Call: only instances whose spawner bound something may call
	Private bool   // Egress: may lead to addresses that are not of the Internet
	Rate    Rates  // all but Share

	Deadline time.Duration // Connect: for what is sent there to be read, 0 for that of the port

	ForAnyone bool // Connect and Share: in the name of any principal, to that one's instance
	Direct    bool // Connect: a program may have the socket itself

	Endpoint         // Egress
	Out, In  Formula // privileges used for it in advance: to release, and to vouch
}

// Limits as resolved: never zero but for Inotify, Unlimited where that was written. The
// defaults are those of the executor; a template and a stdio service have one
// minute of CPU and Wall, all others have no end of both.
type Limits struct {
	Memory   int64
	Pids     int
	CPUs     float64
	CPU      time.Duration
	Wall     time.Duration
	Output   int64
	Files    int // open files
	FileSize int64
	Tmp      int64
	Inotify  int // instances; 0 for none
}

// Restart policy of a service.
type Restart struct {
	Policy     string        // always (default), on-failure, no
	Intensity  int           // restarts within Period before it is broken; default 5
	Period     time.Duration // default 60 s
	Backoff    time.Duration // first delay, default 100 ms, doubled up to BackoffMax
	BackoffMax time.Duration // default 10 s
}

// Grant is one line of the answer to "who may reach whom".
type Grant struct {
	From  string // service; "gateway" for routes and doors
	Kind  string // "call", "spawn", "http", "tcp", "share", "egress", "post", "put", "take"
	To    string // service, template or mailbox; of a share, who sees it; host of an egress
	Name  string // method of a call, port of http, tcp and egress, share, "" for what has none
	Bound bool   // see Use

	ForAnyone bool // see Use
	Direct    bool // see Use

	Rule string // file:line of what grants it

	Private  bool  // see Use
	Rate     Rates // of the service that has it
	Provided Rates // of a call, a port and a mailbox: of each that has it

	Requests string // of http to the gateway: how many, in words

	Deadline time.Duration // of tcp: within which what is sent there has to be read, 0 for none

	Endpoint         // of an egress
	Out, In  Formula // see Use
}
