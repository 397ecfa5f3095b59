package wire

import "strconv"

// Op is what a frame asks or answers.
type Op uint8

// The operations. The table [Ops] says who may send each of them.
const (
	OpReply   Op = 1 // both ways: ends the request with the same id
	OpHello   Op = 2 // to the monitor: who am I?          reply: fields of an Identity
	OpServe   Op = 3 // to the monitor: I answer these methods (fields, KeyMethod each)
	OpCall    Op = 4 // both ways: name is service.method towards the monitor, method towards the server
	OpCancel  Op = 5 // both ways: the request with this id is no longer wanted; no reply, but that of a put, recv or take comes all the same, and so should that to a call: canceled, which is told to nobody and shows that the server responds
	OpSpawn   Op = 6 // to the monitor: name is a template, body the fields of a Spawn; reply: fields of an Exit, or at once of a Told
	OpMount   Op = 7 // to the monitor: body is the fields of a Mount; reply: the path inside
	OpUnmount Op = 8 // to the monitor: body is the fields of the Mount that is to be taken back

	// The operations on labels and on what has one. All are to the monitor, with
	// the fields of an Ask; the reply has those of a Told.
	OpLabels       Op = 9  // which label, clearance, privileges and first handles have I? With a handle: which label or privilege has that?
	OpRaise        Op = 10 // set my label to a higher one
	OpLower        Op = 11 // set it to a lower one, with a privilege
	OpClearance    Op = 12 // set my clearance
	OpSeal         Op = 13 // data and a label: handle of a labeled value
	OpUnseal       Op = 14 // handle of a value: its label and data
	OpRelabel      Op = 15 // handle of a value and a label: handle of a copy at it
	OpTaint        Op = 16 // the same, at the join of both labels
	OpDrop         Op = 17 // handles that are no longer wanted
	OpMailbox      Op = 18 // a label: handle of a new mailbox, of which I am the owner
	OpPost         Op = 19 // a message to a mailbox, blindly
	OpPut          Op = 20 // a message to a mailbox, as soon as there is room
	OpRecv         Op = 21 // by its owner: the next message
	OpTake         Op = 22 // by whoever may: the next message of a shared mailbox
	OpWait         Op = 23 // handle of a child's result: the fields of an Exit, in the data; without a timeout, as long as it takes
	OpKill         Op = 24 // handle of a child's result: end it, blindly
	OpDelegate     Op = 25 // a privilege that I have: handle of a weaker or equal one, to be given away; it lasts as long as I keep that
	OpRevoke       Op = 26 // handle of such: nobody has it any more, nor anything made of it
	OpNewSeal      Op = 27 // handles of a sealer, an unsealer and a tester
	OpEnclose      Op = 28 // handle of a sealer, and data: handle of a capsule
	OpDisclose     Op = 29 // handles of an unsealer and a capsule: its label and data
	OpAuthenticate Op = 30 // handles of an unsealer or a tester and of a capsule: does it bear that seal?
	OpTurns        Op = 31 // which of my requests wait for others to end, and where do they stand? reply: a list of Turns
	OpEnd          Op = 32 // body is the fields of an End: that principal's instance, of a service to which I connect for anyone, ends, blindly
	OpDial         Op = 33 // a connection to a port of a service, name is service:port, body the fields of a Dial; reply: see there
)

// Side is an end of a connection; several can be joined by |.
type Side uint8

// The two ends.
const (
	Environment Side = 1 << iota
	Monitor
)

// OpInfo is a row of [Ops]: what a frame with this operation may carry.
type OpInfo struct {
	Name    string
	From    Side // who may send it
	Replied bool // a reply with the same id is owed
	Named   bool // has a name (then at least a byte), and may have a timeout
	Timed   bool // may have a timeout without a name
	Body    bool // may have a body
	Caller  bool // from the monitor: has a caller and a call number
	Coded   bool // may have a code other than OK
	Opened  bool // may have FlagFields: the body begins with fields of an Ask or a Told
}

// Ops is the table of operations. [ParseHeader] refuses a frame that carries
// what its row does not list; who sent it is for the reader to compare with
// From, because a frame does not say.
var Ops = [...]OpInfo{
	OpReply:   {Name: "reply", From: Environment | Monitor, Body: true, Coded: true, Opened: true},
	OpHello:   {Name: "hello", From: Environment, Replied: true},
	OpServe:   {Name: "serve", From: Environment, Replied: true, Body: true},
	OpCall:    {Name: "call", From: Environment | Monitor, Replied: true, Named: true, Body: true, Caller: true, Opened: true},
	OpCancel:  {Name: "cancel", From: Environment | Monitor},
	OpSpawn:   {Name: "spawn", From: Environment, Replied: true, Named: true, Body: true},
	OpMount:   {Name: "mount", From: Environment, Replied: true, Body: true},
	OpUnmount: {Name: "unmount", From: Environment, Replied: true, Body: true},

	OpLabels:       {Name: "labels", From: Environment, Replied: true, Body: true},
	OpRaise:        {Name: "raise", From: Environment, Replied: true, Body: true},
	OpLower:        {Name: "lower", From: Environment, Replied: true, Body: true},
	OpClearance:    {Name: "clearance", From: Environment, Replied: true, Body: true},
	OpSeal:         {Name: "seal", From: Environment, Replied: true, Body: true},
	OpUnseal:       {Name: "unseal", From: Environment, Replied: true, Body: true},
	OpRelabel:      {Name: "relabel", From: Environment, Replied: true, Body: true},
	OpTaint:        {Name: "taint", From: Environment, Replied: true, Body: true},
	OpDrop:         {Name: "drop", From: Environment, Replied: true, Body: true},
	OpMailbox:      {Name: "mailbox", From: Environment, Replied: true, Body: true},
	OpPost:         {Name: "post", From: Environment, Replied: true, Body: true},
	OpPut:          {Name: "put", From: Environment, Replied: true, Timed: true, Body: true},
	OpRecv:         {Name: "recv", From: Environment, Replied: true, Timed: true, Body: true},
	OpTake:         {Name: "take", From: Environment, Replied: true, Timed: true, Body: true},
	OpWait:         {Name: "wait", From: Environment, Replied: true, Timed: true, Body: true},
	OpKill:         {Name: "kill", From: Environment, Replied: true, Body: true},
	OpDelegate:     {Name: "delegate", From: Environment, Replied: true, Body: true},
	OpRevoke:       {Name: "revoke", From: Environment, Replied: true, Body: true},
	OpNewSeal:      {Name: "new-seal", From: Environment, Replied: true},
	OpEnclose:      {Name: "enclose", From: Environment, Replied: true, Body: true},
	OpDisclose:     {Name: "disclose", From: Environment, Replied: true, Body: true},
	OpAuthenticate: {Name: "authenticate", From: Environment, Replied: true, Body: true},
	OpTurns:        {Name: "turns", From: Environment, Replied: true},
	OpEnd:          {Name: "end", From: Environment, Replied: true, Body: true},
	OpDial:         {Name: "dial", From: Environment, Replied: true, Named: true, Body: true},
}

// Known tells whether op is in the table.
func (op Op) Known() bool { return int(op) < len(Ops) && Ops[op].Name != "" }

// String is the word of the table, or "op(n)".
func (op Op) String() string {
	if !op.Known() {
		return "op(" + strconv.Itoa(int(op)) + ")"
	}
	return Ops[op].Name
}
