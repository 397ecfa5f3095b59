package monitor

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"cofferdam/address"
	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// op is one thing that an environment can ask for.
type op struct {
	n    int // its place among what is counted; no two have the same
	name string
	kind Kind // of the grant it needs; "" if it concerns the subject alone
}

// The operations. This table is the policy: an operation that is not here
// cannot be written to the log, and so cannot happen.
var (
	opAttach  = op{n: 0, name: "attach"}                     // open a wire connection
	opServe   = op{n: 1, name: "serve"}                      // answer a method of its own service
	opCall    = op{n: 2, name: "call", kind: KindCall}       // ask another service
	opSpawn   = op{n: 3, name: "spawn", kind: KindSpawn}     // start a template
	opConnect = op{n: 4, name: "connect", kind: KindConnect} // open a connection to a port
	opMount   = op{n: 5, name: "mount", kind: KindShare}     // have a directory of the host shown
	opUnmount = op{n: 6, name: "unmount", kind: KindShare}   // take that back
	opEgress  = op{n: 7, name: "egress", kind: KindEgress}   // open one to a machine outside
	opAnswer  = op{n: 8, name: "answer"}                     // answer a call that was sent to it
	opRelease = op{n: 9, name: "release"}                    // let the answer of a gate out

	opRaise     = op{n: 10, name: "raise"}     // have a higher label
	opLower     = op{n: 11, name: "lower"}     // have a lower one
	opClearance = op{n: 12, name: "clearance"} // have another clearance
	opSeal      = op{n: 13, name: "seal"}      // make a labeled value
	opUnseal    = op{n: 14, name: "unseal"}    // read it
	opRelabel   = op{n: 15, name: "relabel"}   // make an equivalent one
	opTaint     = op{n: 16, name: "taint"}     // make a higher one
	opDelegate  = op{n: 17, name: "delegate"}  // make a privilege to give away
	opRevoke    = op{n: 18, name: "revoke"}    // take it back
	opWait      = op{n: 19, name: "wait"}      // see how a child ended
	opKill      = op{n: 20, name: "kill"}      // end it

	opMailbox = op{n: 21, name: "mailbox"}              // make a mailbox
	opPost    = op{n: 22, name: "post", kind: KindPost} // send to one, blindly
	opPut     = op{n: 23, name: "put", kind: KindPut}   // send to a shared one
	opTake    = op{n: 24, name: "take", kind: KindTake} // receive from a shared one
	opRecv    = op{n: 25, name: "recv"}                 // receive from one's own

	opEnclose  = op{n: 26, name: "enclose"}  // put something under a seal
	opDisclose = op{n: 27, name: "disclose"} // take it out

	opEnd = op{n: 28, name: "end", kind: KindConnect} // end a principal's instance
)

// operations are all of them, for counting; a test compares.
var operations = [...]op{
	opAttach, opServe, opCall, opSpawn, opConnect, opMount, opUnmount, opEgress, opAnswer,
	opRelease, opRaise, opLower, opClearance, opSeal, opUnseal, opRelabel, opTaint, opDelegate,
	opRevoke, opWait, opKill, opMailbox, opPost, opPut, opTake, opRecv, opEnclose,
	opDisclose, opEnd,
}

// Kind is what a grant is for.
type Kind string

// The kinds of grants.
const (
	KindCall    Kind = "call"
	KindSpawn   Kind = "spawn"
	KindConnect Kind = "connect"
	KindShare   Kind = "share"
	KindEgress  Kind = "egress"
	KindPost    Kind = "post"
	KindPut     Kind = "put"
	KindTake    Kind = "take"
)

// Policy is what the operator granted. The zero value grants nothing.
type Policy struct {
	Services  []Service
	Grants    []Grant
	Shares    []Share // none within another
	Mailboxes []Mailbox
	Door      Door    // carries HTTP between services: the gateway
	Traces    *Traces // nil if no calls are traced
	Egress    Door    // resolves names and speaks with programs that want a proxy

	PerPrincipal Rates // of all that runs for one
}

// Door is a service that parses for the monitor what the monitor does not.
type Door struct {
	Service string
	Port    int // where it takes connections that begin with a preface of ours

	Connections int // that it may have made at a time, beyond MaxRelays

	// People says of the gateway what may be sent to a service, by its route with this
	// number, by a principal, and what that one may be sent; "" is somebody who was not
	// recognised. It is an error if there is no such route, or not any more. The gateway
	// begins each of its connections with a line that says on whose behalf it
	// is; see person.go. nil if it does not. Ports that lead on what is not HTTP are routes, too.
	People func(route int, to, principal string) (guard.Endpoint, error)
}

// Service is a subject and the methods it answers.
type Service struct {
	Name string
	Flow Flow // of each of its instances that starts without another

	// For is the service, and Granted what it was granted, as they are for a principal. nil
	// unless each instance runs for one: then labels and privileges here name
	// nobody, and those that hold are asked for with the name, again each time.
	For     func(principal string) (Service, error)
	Granted func(principal string) ([]Grant, error)

	Methods []Method
	Ports   []int // that it listens on, inside
	HTTP    int   // the one of Ports that speaks HTTP, 0 for none
	Lines   bool  // a program per call, the request on its standard input

	Instances     Instances
	PortEndpoints map[int]guard.Endpoint // of Ports; for one that is not there, both are the label of Flow
	PortRates     map[int]Rates          // of each service that connects, or of each principal; HTTP of the door is not counted

	Volumes []Volume // that its instances are shown, as writable as their labels let them
	Output  int      // bytes that an instance of a template prints at most; 0 for what fits an answer
}

// Method is one endpoint of a service.
type Method struct {
	Name       string
	Deadline   time.Duration   // 0 means DefaultDeadline
	Idempotent bool            // may be repeated on a replacement
	Endpoint   *guard.Endpoint // nil: both are the label of the service's Flow

	// Gate makes it one: what a caller must bring to have something released or
	// endorsed. Only of programs per call; Endpoint is not looked at. What such a
	// program answers is true or false if Bits is 1, and a number less than 2^Bits, in
	// decimal, if that is more; 0 is no bound.
	Gate *guard.Gate
	Bits int

	Rates Rates // of each service that calls, or of each principal
}

// Grant lets one service use one thing.
type Grant struct {
	From  string
	Kind  Kind
	To    string // service.method, template, service:port, share, service:share, host:port, or mailbox
	Bound bool   // only for instances whose spawner bound something to them
	Rule  string // the place in the manifest
	Rates Rates

	// Privileges that From owns and uses with this grant, whatever its programs
	// ask for.
	Out, In label.Formula

	// Deadline is, of a connection that is not HTTP, how long what is sent on it may lie unread
	// before the one that it leads to is found unresponsive. 0 is for ever.
	Deadline time.Duration

	// ForAnyone says of a connection, and of a share that another service is shown, that it
	// is in the name of whatever principal From says, to that one's instance.
	ForAnyone bool

	// Direct says of a connection that programs that ask for it may have its socket; see handed.
	Direct bool

	// Of an egress.
	Private         bool        // To may lead to addresses that are not of the Internet
	Request, Answer label.Label // of what goes out and of what comes in

	// Set by compile.
	void     bool // there is no such method
	endpoint address.Endpoint
	toll     *toll
	traffic  *traffic // of a connect or an egress
}

// portOf is how a grant names a port of a service.
func portOf(service string, port int) string { return service + ":" + strconv.Itoa(port) }

// service is what it says of the service with that name, nil if there is none.
func (p *policy) service(name string) *Service { return p.byName[name] }

func (p *policy) of(service string) grants { return p.bySubject[service] }

// Verdict is the answer to one question and why.
type Verdict struct {
	Allowed bool
	Rule    string // what decided

	toll *toll // of the grant that allows it
}

// noGrant is the rule of everything that nobody granted.
const noGrant = "default: nothing is granted"

// decide is the one place where a grant becomes a permission. It depends on
// nothing but its arguments, so that explaining runs what enforces.
func (g grants) decide(o op, object string, bound bool) Verdict {
	grant, ok := g[o.kind][object]
	switch {
	case !ok:
		return Verdict{Rule: noGrant}
	case grant.void:
		return Verdict{Rule: grant.Rule + ": nobody provides it"}
	case grant.Bound && !bound:
		return Verdict{Rule: grant.Rule + ": only for instances that their spawner bound"}
	}
	return Verdict{Allowed: true, Rule: grant.Rule, toll: grant.toll}
}

// named is the text of a name that a program has sent: that of the grant, if there is one, which
// saves making another.
func (g grants) named(k Kind, name []byte) string {
	if grant, ok := g[k][string(name)]; ok {
		return grant.To
	}
	return strings.ToValidUTF8(string(name), "\uFFFD")
}

// Decide answers a question about the policy without asking for anything: may
// an instance of service (with something bound to it or not) do operation to
// object? It is for explanations: it runs what enforces, and leaves no record.
//
// The error is that p contradicts itself, or that no grant is involved in the
// operation.
func (p Policy) Decide(service, operation, object string, bound bool) (Verdict, error) {
	table, err := p.compile()
	if err != nil {
		return Verdict{}, err
	}
	for _, o := range []op{opCall, opSpawn, opConnect, opMount, opUnmount, opEgress, opPost, opPut, opTake} {
		if o.name != operation {
			continue
		}
		if o.kind == KindShare {
			object, _ = table.shareOf(object)
		}
		if o.kind == KindEgress && object == ViaProxy {
			return Verdict{}, errViaProxy
		}
		return table.of(service).decide(o, object, bound), nil
	}
	if operation == opEnd.name {
		return table.of(service).decideEnd(object, bound), nil
	}
	return Verdict{}, fmt.Errorf("operation %q needs no grant", operation)
}

// DecideAddress is Decide for an egress that leads to addr. Whether addr is the
// host's own is asked now.
func (p Policy) DecideAddress(service, to string, addr netip.Addr, bound bool) (Verdict, error) {
	table, err := p.compile()
	if err != nil {
		return Verdict{}, err
	}
	v := table.of(service).decide(opEgress, to, bound)
	if v.Allowed {
		v = table.of(service)[KindEgress][to].leadsTo(addr, classOf(addr))
	}
	return v, nil
}

// conclude records the decision on what e wants to do to object, and returns it. Only a nil
// error permits; an error of the log forbids like any other. Who is refused again
// and again waits for it (see ration).
func (m *Monitor) conclude(e *Env, o op, object string, call uint64, v Verdict) error {
	return m.concludeLabels(e, o, object, call, v, nil)
}

// concludeLabels is conclude for one in which labels had a part.
func (m *Monitor) concludeLabels(e *Env, o op, object string, call uint64, v Verdict, labels *audit.Labels) error {
	return m.concludeFor(e, e.id.Principal, o, object, call, v, "", labels)
}

// concludeFor is concludeLabels with a sentence more and for whom it is, if e asks for
// somebody else.
func (m *Monitor) concludeFor(e *Env, whom string, o op, object string, call uint64, v Verdict, detail string, labels *audit.Labels) error {
	err := m.noteFor(e, whom, o, object, call, v, detail, labels)
	if err != nil {
		time.Sleep(e.records.take(time.Now()))
	}
	return err
}

// objectOf is how the log names what a mount asks for: "/srv/theories/a", or
// "prover:/srv/theories/a" if it is to appear in another service.
func objectOf(req *wire.Mount) string {
	if req.Into == "" {
		return req.Dir
	}
	return req.Into + ":" + req.Dir
}

// shareOf is what a grant for an object of objectOf would be for: the share that
// it lies in, in the same form, and "" if it lies in none.
func (p *policy) shareOf(object string) (string, *Share) {
	into, dir, other := strings.Cut(object, "/")
	if !other {
		return "", nil
	}
	if s := p.shareAt("/" + dir); s != nil {
		return into + s.Name, s
	}
	return "", nil
}

// shareAt is the share that dir is, or lies beneath, nil if there is none.
func (p *policy) shareAt(dir string) *Share {
	if len(p.byFrom) == 0 {
		return nil
	}
	for {
		if s := p.byFrom[dir]; s != nil {
			return s
		}
		i := strings.LastIndexByte(dir, '/')
		if i < 0 {
			return nil
		}
		dir = dir[:i]
	}
}

// decideMount is decide for opMount and opUnmount.
func (r *rights) decideMount(e *Env, o op, req *wire.Mount) (Verdict, *Share) {
	object, share := r.policy.shareOf(objectOf(req))
	return r.grants.decide(o, object, len(e.id.Bound) > 0), share
}

func (m *Monitor) record(e *Env, o op, object string, call uint64, v Verdict) error {
	return m.note(e, o, object, call, v, "")
}

// note is record with a sentence more.
func (m *Monitor) note(e *Env, o op, object string, call uint64, v Verdict, detail string) error {
	return m.noteLabels(e, o, object, call, v, detail, nil)
}

// noteLabels is note for a decision in which labels had a part.
func (m *Monitor) noteLabels(e *Env, o op, object string, call uint64, v Verdict, detail string, labels *audit.Labels) error {
	return m.noteFor(e, e.id.Principal, o, object, call, v, detail, labels)
}

// noteFor is noteLabels for one that e asks for somebody.
func (m *Monitor) noteFor(e *Env, whom string, o op, object string, call uint64, v Verdict, detail string, labels *audit.Labels) error {
	verdict := audit.Deny
	if v.Allowed {
		verdict = audit.Allow
	}
	if _, err := m.log.Append(audit.Record{
		Kind:      audit.KindDecision,
		Subject:   e.id.Service,
		Instance:  e.id.Instance,
		Principal: whom,
		Op:        o.name,
		Object:    object,
		Verdict:   verdict,
		Rule:      v.Rule,
		Call:      call,
		Detail:    detail,
		Labels:    labels,
	}); err != nil {
		e.self.counts.unrecorded(o)
		return fmt.Errorf("%w: %v", ErrDenied, err)
	}
	e.self.counts.decided(o, v, labels != nil)
	if !v.Allowed {
		return ErrDenied
	}
	return nil
}
