package monitor

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// For whom a connection is.
//
// A service that was granted to connect for anyone begins each of those connections with
// one line, which is taken off. It is believed in whose instance of the other is meant:
//
//	COFFERDAM for PRINCIPAL
//
// If Door.People is set, the gateway begins each of its connections to a service with
// one line, which is taken off:
//
//	COFFERDAM for PRINCIPAL ROUTE	from somebody outside, by a route
//	COFFERDAM over NUMBER		for a connection between services
//
// PRINCIPAL is in hexadecimal, - for somebody who was not recognised. NUMBER is the
// one that the monitor has told the gateway ahead of the connection that it led
// to it: "COFFERDAM CALLER CALLEE PORT NUMBER PRINCIPAL", where the last is for whom
// that is. So the gateway is believed in who somebody outside is, and in
// which of the connections that it has a request came on, and in nothing else: what
// those may do is decided here.

// maxPreface is the longest such line.
const maxPreface = len("COFFERDAM for  \n") + 2*wire.MaxPrincipal + 20

// bridged are the connections between services that lead to the gateway now, by
// number. It counts what the gateway sees anyhow.
type bridged struct {
	mu   sync.Mutex // taken last, and alone
	last uint64
	open map[uint64]*visit
}

func (b *bridged) add(v *visit) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	if b.open == nil {
		b.open = make(map[uint64]*visit)
	}
	b.open[b.last] = v
	return b.last
}

func (b *bridged) remove(n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, n)
}

func (b *bridged) of(n uint64) *visit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open[n]
}

// prefaceTo is what a door reads ahead of a connection that v leads to it.
func (v *visit) prefaceTo(by *Env) string {
	line := fmt.Sprintf("COFFERDAM %s %s %d", v.e.id.Service, v.to.Name, v.port)
	if m := v.e.m; v.has.policy.Door.People != nil {
		v.door = by
		v.number = m.bridged.add(v)
		line += fmt.Sprintf(" %d %s", v.number, hexOf(v.principal))
	}
	return line + "\n"
}

func hexOf(principal string) string {
	if principal == "" {
		return "-"
	}
	return hex.EncodeToString([]byte(principal))
}

// visitsFor is visits for the gateway, whose connection begins with a line.
func (e *Env) visitsFor(ctx context.Context, v *visit, object string) (*visit, error) {
	to := v.to
	line, err := v.line(ctx)
	if err != nil {
		return v, err
	}
	d := v.has.grants.decide(opConnect, object, len(e.id.Bound) > 0)
	num := e.m.calls.Add(1)
	if !d.Allowed || to == nil {
		if err := e.m.conclude(e, opConnect, object, num, d); err != nil {
			return v, err
		}
		return v, ErrDenied
	}
	g := v.has.grants[KindConnect][object]
	v.traffic, v.limit = g.traffic, g.Deadline
	people, err := v.onBehalf(line)
	if much := (*tooMuch)(nil); errors.As(err, &much) {
		return v, err
	}
	if err != nil {
		d = Verdict{Rule: d.Rule + ": " + err.Error()}
	}
	labels := labelsOf(guard.State{Label: people.Request, Clearance: people.Request}, label.Privileges{}, v.at)
	logErr := e.m.noteFor(e, e.whom(v.principal), opConnect, object, num, d, printable(line), labels)
	if err == nil {
		err = logErr
	}
	return v, err
}

// onBehalf decides on a connection of the gateway by the line that it begins with,
// and finds which instance it is for. It returns what the person may send and be sent.
func (v *visit) onBehalf(line string) (people guard.Endpoint, err error) {
	words := strings.Split(line, " ")
	switch {
	case len(words) == 3 && words[0] == "COFFERDAM" && words[1] == "over":
		n, _ := strconv.ParseUint(words[2], 10, 64)
		from := v.e.m.bridged.of(n)
		if from == nil || strconv.FormatUint(n, 10) != words[2] || from.door != v.e || from.to != v.to || from.port != v.port {
			return people, errors.New("no connection between services that leads there has this number")
		}
		v.key, v.at, v.quiet, v.principal = from.key, from.at, from.quiet, from.principal
		return from.at, nil
	case len(words) == 4 && words[0] == "COFFERDAM" && words[1] == "for":
		principal, err := principalOf(words[2])
		route, convErr := strconv.Atoi(words[3])
		if err = errors.Join(err, convErr); err != nil {
			return people, err
		}
		if hexOf(principal) != words[2] || strconv.Itoa(route) != words[3] {
			return people, errors.New("not in the one way to write it")
		}
		v.principal = principal
		if people, err = v.has.policy.Door.People(route, v.to.Name, principal); err != nil {
			return people, err
		}
		if err := v.chargePerson(principal, people.Request); err != nil {
			return people, err
		}
		as, key, err := v.to.meets(principal, people.Request)
		if err != nil {
			return people, err
		}
		v.key, v.at = key, as.portEndpoint(v.port)
		v.quiet = quiet(&as, v.at)
		return people, guard.Carry(people, v.at)
	}
	return people, errors.New("no line that says on whose behalf it is")
}

// chargePerson counts a connection of somebody outside against the rates of the port, and against
// what there is of him in all.
func (v *visit) chargePerson(principal string, at label.Label) error {
	object := portOf(v.to.Name, v.port)
	port, total := v.has.grants[KindConnect][object].toll, v.has.policy.totals[KindConnect]
	if principal == "" {
		total = nil
	}
	p := payer{service: v.e.id.Service, principal: principal, at: at}
	if err := p.within(v.e, opConnect, object, 0, port, total); err != nil {
		return err
	}
	v.meter = v.e.meterOf(opConnect, object, func() payer { return p }, port, total)
	return nil
}

// somebody reads the line of a service that connects for anyone.
func somebody(line string) (principal string, err error) {
	word, ok := strings.CutPrefix(line, "COFFERDAM for ")
	if !ok {
		return "", errors.New("no line that says for whom it is")
	}
	if principal, err = principalOf(word); err != nil {
		return "", err
	}
	switch {
	case principal == "":
		return "", errors.New("for nobody")
	case hexOf(principal) != word:
		return "", errors.New("not in the one way to write it")
	}
	return principal, nil
}

// forWhom is how the log says it.
func forWhom(principal string) string {
	if principal == "" {
		return ""
	}
	return fmt.Sprintf("for %q", principal)
}

func principalOf(word string) (string, error) {
	if word == "-" {
		return "", nil
	}
	b, err := hex.DecodeString(word)
	if err == nil && (len(b) == 0 || len(b) > wire.MaxPrincipal || !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0) {
		err = errors.New("not the name of a principal")
	}
	return string(b), err
}

// printable is a line that the log may have.
func printable(line string) string { return strings.ToValidUTF8(line, "\uFFFD") }

var errPreface = errors.New("no line at the beginning")

// line reads one line, without its end, and nothing after it.
func (x *side) line(ctx context.Context) (string, error) {
	if at, ok := ctx.Deadline(); ok {
		x.SetReadDeadline(at)
		defer x.SetReadDeadline(time.Time{})
	}
	var line []byte
	for {
		var n int
		var err error
		peek := make([]byte, maxPreface-len(line))
		rawErr := x.raw.Read(func(fd uintptr) bool {
			n, _, err = unix.Recvfrom(int(fd), peek, unix.MSG_PEEK)
			return err != unix.EAGAIN
		})
		if rawErr != nil || err != nil || n == 0 {
			return "", errPreface
		}
		end := bytes.IndexByte(peek[:n], '\n')
		if end >= 0 {
			n = end + 1
		}
		if got, err := x.Read(peek[:n]); err != nil || got != n {
			return "", errPreface
		}
		line = append(line, peek[:n]...)
		switch {
		case end >= 0:
			return string(line[:len(line)-1]), nil
		case len(line) == maxPreface:
			return "", errPreface
		}
	}
}
