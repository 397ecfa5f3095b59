package gateway

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxPreface is the longest preface, line feed included, in bytes.
const maxPreface = 128 + 2*maxPrincipal

// preface is what the monitor says about a connection between services, in one
// line: "COFFERDAM caller callee port\n" or, where the gateway has to say on whose
// behalf it connects, "COFFERDAM caller callee port number principal\n".
type preface struct {
	caller, callee string
	port           int    // of the callee
	number         uint64 // of the connection; 0 for none
	principal      string // for whom the caller runs, "" for nobody
}

var errPreface = errors.New("not a preface")

// parsePreface accepts one way of writing a preface.
func parsePreface(line string) (preface, error) {
	words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if len(words) != 4 && len(words) != 6 || words[0] != "COFFERDAM" || !isName(words[1]) || !isName(words[2]) {
		return preface{}, errPreface
	}
	port, err := strconv.ParseUint(words[3], 10, 16)
	if err != nil || port == 0 || strconv.FormatUint(port, 10) != words[3] {
		return preface{}, errPreface
	}
	if words[1] == callerOutside {
		return preface{}, errPreface // no service has this name
	}
	p := preface{caller: words[1], callee: words[2], port: int(port)}
	if len(words) == 4 {
		return p, nil
	}
	p.number, err = strconv.ParseUint(words[4], 10, 64)
	if err != nil || p.number == 0 || strconv.FormatUint(p.number, 10) != words[4] {
		return preface{}, errPreface
	}
	if p.principal, err = parsePrincipal(words[5]); err != nil {
		return preface{}, err
	}
	return p, nil
}

// nobody stands for the name of nobody in a line.
const nobody = "-"

// parsePrincipal accepts one way of writing a name.
func parsePrincipal(word string) (string, error) {
	if word == nobody {
		return "", nil
	}
	name, err := hex.DecodeString(word)
	if err != nil || len(name) == 0 || len(name) > maxPrincipal || !utf8.Valid(name) || hex.EncodeToString(name) != word {
		return "", errPreface
	}
	return string(name), nil
}

// writePrincipal is a name as parsePrincipal reads it.
func writePrincipal(name string) string {
	if name == "" {
		return nobody
	}
	return hex.EncodeToString([]byte(name))
}

// who is whom a connection counts for.
func (p preface) who() string { return p.caller + " " + p.principal }

// introduced takes the preface off, and counts the connection, if its caller may have one more.
// One without a proper preface ends before its first byte: it has said nothing worth an answer.
func (c *client) introduced() bool {
	c.tcp.SetReadDeadline(time.Now().Add(min(c.g.config.Limits.timeout(), headTime)))
	line, err := c.in.firstLine(maxPreface)
	if err == nil {
		c.said, err = parsePreface(line)
	}
	if err != nil {
		return false
	}
	if !c.entry.callers.begin(c.said.who()) {
		io.WriteString(c.tcp, crowded)
		return false
	}
	return true
}

// firstLine takes off a line of at most so many bytes, with its end.
func (in *input) firstLine(most int) (string, error) {
	for {
		b := in.waiting()
		end := bytes.IndexByte(b[:min(len(b), most)], '\n')
		if end >= 0 {
			in.r += end + 1
			return string(b[:end+1]), nil
		}
		if len(b) >= most {
			return "", errPreface
		}
		if err := in.fill(); err != nil {
			return "", err
		}
	}
}
