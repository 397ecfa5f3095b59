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
	OpCancel  Op = 5 // both ways: the request with this id is no longer wanted; no reply
	OpSpawn   Op = 6 // to the monitor: name is a template, body the fields of a Spawn; reply: fields of an Exit
	OpMount   Op = 7 // to the monitor: body is the fields of a Mount; reply: the path inside
	OpUnmount Op = 8 // to the monitor: body is the fields of the Mount that is to be taken back
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
	Body    bool // may have a body
	Caller  bool // from the monitor: has a caller and a call number
	Coded   bool // may have a code other than OK
}

// Ops is the table of operations. [ParseHeader] refuses a frame that carries
// what its row does not list; who sent it is for the reader to compare with
// From, because a frame does not say.
var Ops = [...]OpInfo{
	OpReply:   {Name: "reply", From: Environment | Monitor, Body: true, Coded: true},
	OpHello:   {Name: "hello", From: Environment, Replied: true},
	OpServe:   {Name: "serve", From: Environment, Replied: true, Body: true},
	OpCall:    {Name: "call", From: Environment | Monitor, Replied: true, Named: true, Body: true, Caller: true},
	OpCancel:  {Name: "cancel", From: Environment | Monitor},
	OpSpawn:   {Name: "spawn", From: Environment, Replied: true, Named: true, Body: true},
	OpMount:   {Name: "mount", From: Environment, Replied: true, Body: true},
	OpUnmount: {Name: "unmount", From: Environment, Replied: true, Body: true},
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
