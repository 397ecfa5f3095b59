package monitor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"

	"cofferdam/wire"
)

// maxBits is the most that the answer of a gate can be bounded to.
const maxBits = 64

// runLines answers the call by a program of its own.
func (k *call) runLines(body []byte) {
	e := k.from.env
	if !e.startSpawn() {
		k.finish(wire.Busy, nil)
		return
	}
	ctx, cancel := context.WithDeadline(context.Background(), k.deadline)
	k.mu.Lock()
	k.stop = cancel
	k.mu.Unlock()
	if k.done.Load() {
		cancel() // it ended before there was anything to stop
	}
	flow := k.method.of.Flow
	var gives []object
	if k.terms != nil {
		flow, gives = k.terms.inside, k.terms.gives
	}
	go func() {
		defer e.endSpawn()
		defer cancel()
		var by *Env
		var held error
		asked := sha256.Sum256(body)
		ctx, done := e.turn(ctx, k.method.of.Name+"."+k.method.Name, "")
		defer done()
		out, err := e.m.spawner.Line(ctx, k.method.of.Name, k.method.Name, e.id, body, flow, func(child *Env) {
			by = child
			held = child.begin(gives)
		})
		if err == nil {
			err = held
		}
		if k.method.Gate != nil {
			k.leaveGate(by, asked, out, err)
		} else {
			k.lineEnded(by, out, err)
		}
		if !k.done.Load() {
			// Withheld. How many more its caller may start tells nothing of that either.
			<-ctx.Done()
		}
	}()
}

// begin gives e the handles that it starts with.
func (e *Env) begin(with []object) error {
	handles, err := e.holdObjects(with)
	e.flow.first = handles
	return err
}

// lineEnded answers the call with what a program of its own has printed. How one
// ended that has failed is not something that it says.
func (k *call) lineEnded(by *Env, out []byte, err error) {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		k.refuse(wire.Deadline, nil, by)
	case errors.Is(err, wire.ErrBusy):
		k.refuse(wire.Busy, nil, by)
	case err != nil:
		k.refuse(wire.Failed, errorText(err), by)
	case len(out) > wire.MaxBody:
		k.refuse(wire.TooLarge, nil, by)
	default:
		k.answer(nil, by, wire.OK, out, nil)
	}
}

// leaveGate lets the answer of a gate out, if it owns what it would let go and has
// answered as it has to, and records what went in and what came out. Of all else its
// caller sees that the deadline passes: how a gate fails is not bounded by what it may answer.
func (k *call) leaveGate(by *Env, asked [sha256.Size]byte, out []byte, err error) {
	subject, flow := by, k.terms.inside
	if by == nil {
		subject = k.from.env // the gate did not come to be
	} else {
		flow.State = by.at()
	}
	detail := fmt.Sprintf("request sha256:%x", asked)
	if err == nil {
		detail += fmt.Sprintf(", answer sha256:%x", sha256.Sum256(out))
		out, err = withinBits(out, k.method.Bits)
	}
	if err == nil {
		err = flow.Release(flow.Owns, k.endpoint().Answer)
	}
	v := Verdict{Allowed: err == nil, Rule: "labels"}
	if err != nil {
		v.Rule = err.Error()
	}
	labels := labelsOf(flow.State, allOf(flow.Owns), k.endpoint())
	if subject.m.noteLabels(subject, opRelease, k.method.of.Name+"."+k.method.Name, k.num, v, detail, labels) != nil {
		k.withhold()
		return
	}
	k.answer(nil, by, wire.OK, out, nil)
}

var errBits = errors.New("the answer is not one of those that the gate may give")

// withinBits is an answer of at most that many bits, in the one way to write it.
func withinBits(out []byte, bits int) ([]byte, error) {
	text := string(bytes.TrimSuffix(out, []byte("\n")))
	switch {
	case bits == 0 && len(out) <= wire.MaxBody:
		return out, nil
	case bits == 1 && (text == "true" || text == "false"):
		return []byte(text), nil
	case bits > 1:
		n, err := strconv.ParseUint(text, 10, bits)
		if err == nil && strconv.FormatUint(n, 10) == text {
			return []byte(text), nil
		}
	}
	return nil, errBits
}
