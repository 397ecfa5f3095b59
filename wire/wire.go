// Package wire says what crosses the border of an environment.
//
// An environment talks to the monitor over stream connections to one Unix
// socket. Both directions carry frames: a header of [HeaderSize] bytes, then
// three runs of raw bytes (name, caller, body) whose lengths the header gives.
// Numbers are little-endian. Nothing in a frame is text that has to be parsed
// on the way of a call: the monitor reads the header, decides on the name, and
// passes the body on as it came.
//
//	 0  u32 size    bytes after the header = name + caller + body
//	 4  u8  op      one of [Op]
//	 5  u8  code    one of [Code]; 0 in requests
//	 6  u16 name    length of the name
//	 8  u64 id      chosen by the sender of a request, repeated in its reply
//	16  u32 timeout milliseconds a request may take; 0 means the monitor's default. In a reply with the
//	                code Limited: when to try again
//	20  u16 caller  length of the caller; always 0 in what an environment sends
//	22  u16 flags   1: the body begins with fields, see [FlagFields]; otherwise 0
//	24  u64 call    a call's number among those of its method; 0 in what an environment sends
//
// Structured bodies (hello, serve, spawn, mount, caller, answer, and all that labels need) are lists of fields: u8 key,
// u32 length, bytes; see [ParseFields].
//
// Trusted: yes. It is the one decoder of bytes from confined programs.
package wire

// Bounds of a frame. A frame beyond them ends its connection.
const (
	HeaderSize = 32
	MaxName    = 128
	MaxCaller  = 1 << 10
	MaxBody    = 1 << 20
	MaxSize    = MaxName + MaxCaller + MaxBody
	MaxFields  = 1024
)

// Keys of fields. One number space for all lists, so that one decoder and one
// table serve all of them.
const (
	KeyMethod    = 1  // serve: a method name
	KeyService   = 2  // identity, caller: the service; mount: the one to mount into
	KeyInstance  = 3  // identity, caller: the instance
	KeyPrincipal = 4  // identity, caller, spawn, mount: the principal it runs for
	KeyBound     = 5  // identity, caller, spawn: bytes bound by the spawner
	KeyArg       = 6  // spawn: one further argument
	KeyEnv       = 7  // spawn: one K=V
	KeyFile      = 8  // spawn: path of a file, its content in the next field
	KeyData      = 9  // spawn: content of the file named before
	KeyStdin     = 10 // spawn: all of standard input
	KeyWall      = 11 // spawn: u64 milliseconds, may only lower the template's limit
	KeyStdout    = 12 // exit: captured output
	KeyStderr    = 13 // exit: captured output
	KeyCause     = 14 // exit: executor cause
	KeyCode      = 15 // exit: u64 exit code
	KeyLimit     = 16 // exit: the limit that fired
	KeyUsage     = 17 // exit: u64 wall µs, cpu µs, memory bytes, in this order
	KeyDetail    = 18 // exit: one sentence
	KeyDir       = 19 // mount: a directory of the host
	KeyClient    = 20 // mount: on whose behalf
	KeyAddress   = 21 // answer: 4 or 16 bytes
	KeyTTL       = 22 // answer: u64 seconds that it holds

	// Of an Ask, a Told, a Spawn and the caller; see there.
	KeyLabel     = 23 // text of a label
	KeyClearance = 24 // text of a label
	KeyResult    = 25 // text of a label
	KeyOut       = 26 // text of a formula: the privilege that releases
	KeyIn        = 27 // text of a formula: the privilege that vouches
	KeyOwns      = 28 // text of a formula
	KeyShown     = 29 // text of a formula: the privilege that is described
	KeyGive      = 30 // text of a formula: a privilege that goes to another
	KeyName      = 31 // of a mailbox; of what a request is for
	KeyHandle    = 32 // u64
	KeyMode      = 33 // u64: bits of a Mode
	KeyCaller    = 34 // fields of an Identity

	KeyPlace = 35 // u64 place, u64 of how many: where a request stands in a queue
	KeyTrace = 36 // a Trace
	KeyRoute = 37 // dial: u64, one more than the number of a route

	keys = 38 // one more than the last
)
