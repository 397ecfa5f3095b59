package protocol

import (
	"strings"
)

// Message is a command with its argument, or a reply with what it tells.
type Message struct {
	Name     string // letters, digits, _ and .; may be empty
	Argument string // as it was sent; "" is unit, which is not null
}

// The kinds of replies.
const (
	OK       = "OK"       // a command was done, or its task begun: one answer per command, in order
	Error    = "ERROR"    // it was not
	Finished = "FINISHED" // the end of a task
	Failed   = "FAILED"   // the other end of a task
	Note     = "NOTE"     // anything, any time
)

// Commands are the names of the commands of the server, in the order in which
// help lists them.
var Commands = []string{"cancel", "echo", "help", "purge_theories", "session_build", "session_start", "session_stop", "shutdown", "use_theories"}

// blanks are what may stand between name and argument.
const blanks = " \t\n\v\f\r"

// Parse takes a message apart. That never fails: what has no name has the empty one.
func Parse(message []byte) Message {
	n := 0
	for n < len(message) && nameByte(message[n]) {
		n++
	}
	return Message{string(message[:n]), strings.TrimLeft(string(message[n:]), blanks)}
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.'
}

// Bytes puts the message together.
func (m Message) Bytes() []byte {
	if m.Argument == "" {
		return []byte(m.Name)
	}
	return append(append([]byte(m.Name), ' '), m.Argument...)
}

// Frame is the message as it is written to a connection. It panics if there is
// no such frame, which cannot happen to a message with a name of letters and an
// argument in JSON.
func (m Message) Frame() []byte {
	frame, err := Frame(nil, m.Bytes())
	if err != nil {
		panic(err)
	}
	return frame
}

// Unit is the value of an empty argument.
type Unit struct{}

// YXML is an argument in the other syntax that the server takes: markup of the
// prover, which begins with two control characters.
type YXML string

// Value reads the argument: [Unit], [YXML], or what [ParseJSON] returns.
func (m Message) Value(bounds Bounds) (any, error) {
	switch {
	case m.Argument == "":
		return Unit{}, nil
	case strings.HasPrefix(m.Argument, yxmlMark):
		return parseYXML(m.Argument, bounds)
	}
	return ParseJSON(m.Argument, bounds)
}
