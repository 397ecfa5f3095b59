package monitor

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"cofferdam/label"
	"cofferdam/wire"
)

// Bounds of mailboxes.
const (
	DefaultMessages     = 64       // that one keeps
	DefaultMessageBytes = 64 << 10 // of the data of one message
	MaxMessages         = 4096
	MaxMessageBytes     = 1 << 20 // less maxEnvelope and the text of the label, because a message comes out in one frame

	// MaxMailboxes is how many of those that an environment has made it owns at a
	// time. Each has the defaults, and minMailboxBytes.
	MaxMailboxes = 32

	// A mailbox has room for the messages of one sender at their largest, and at least and at
	// most for this; a declared one has twice as much in all (see mailbox.room). What
	// their handles stand for counts, whoever else has it.
	minMailboxBytes = 2 << 20 // so that the largest value can be sent
	maxMailboxBytes = 32 << 20

	envelopeBytes = 256      // what a message costs beside its data and handles
	maxEnvelope   = 2 << 10  // what a frame says of a message beside its data and the label, at most
	postsEach     = 16 << 10 // posts a second of one environment; their number is given back by time alone
	maxPostings   = 1024     // see posting
	maxServed     = 16       // messages that one who adds another hands out
)

// Mailbox is one that the operator declared.
type Mailbox struct {
	Name         string
	Label        label.Label
	Owner        string // the service that receives; "" for a shared one
	Messages     int    // of one sender that it keeps; 0 means DefaultMessages
	MessageBytes int    // of the data of one; 0 means DefaultMessageBytes
	Rates        Rates  // of each service that posts or puts, or of each principal
}

// check refuses what does not fit a frame or is beyond the bounds, and an owner of
// which there are several instances that have nothing to do with each other.
func (b Mailbox) check(owner *Service) error {
	switch {
	case !wire.ValidWord([]byte(b.Name)):
		return fmt.Errorf("policy: mailbox %q: not a name of at most %d bytes", b.Name, wire.MaxName)
	case b.Owner != "" && owner == nil:
		return fmt.Errorf("policy: mailbox %q: no service %q", b.Name, b.Owner)
	case b.Owner != "" && (owner.Instances != Shared || owner.Lines):
		return fmt.Errorf("policy: mailbox %q: %q has instances for some of its callers each, and a mailbox has one owner", b.Name, b.Owner)
	case b.Messages < 0 || b.Messages > MaxMessages:
		return fmt.Errorf("policy: mailbox %q: %d messages, at most %d", b.Name, b.Messages, MaxMessages)
	case b.MessageBytes < 0 || b.MessageBytes > MaxMessageBytes:
		return fmt.Errorf("policy: mailbox %q: messages of %d bytes, at most %d", b.Name, b.MessageBytes, MaxMessageBytes)
	}
	if err := tellable(b.Label); err != nil {
		return fmt.Errorf("policy: mailbox %q: %w", b.Name, err)
	}
	return nil
}

// tellable tells whether a label can be told with each message.
func tellable(l label.Label) error {
	if n := len(l.String()); n > wire.MaxLabel {
		return fmt.Errorf("a label whose text has %d bytes, at most %d", n, wire.MaxLabel)
	}
	return nil
}

// checkMail refuses grants of mailboxes that are not there, and of what nobody
// can do to one that has an owner.
func (g *Grant) checkMail(boxes map[string]*Mailbox) error {
	if g.Kind != KindPost && g.Kind != KindPut && g.Kind != KindTake {
		return nil
	}
	b := boxes[g.To]
	if b == nil {
		return fmt.Errorf("policy %s: no mailbox %q", g.Rule, g.To)
	}
	if owner := b.Owner; owner != "" && g.Kind != KindPost {
		return fmt.Errorf("policy %s: %s %q: it has an owner, %q, to which others can only post", g.Rule, g.Kind, g.To, owner)
	}
	return nil
}

// mailbox is a queue of messages with one fixed label.
//
// Either it has an owner, who alone receives. Then nobody else can tell whether a
// message was received, and so it takes no more than the right to read (see
// [Env.mayUse]); in turn the others only post, which tells them nothing. Or it is
// shared, and then who puts and who takes sees what the others do: both must be at
// its label.
type mailbox struct {
	name         string  // for the log, and in the manifest if it is declared
	as           Mailbox // how it was declared, without rates, which are asked of the policy
	label        label.Label
	declared     bool
	owner        string // the service, of a declared one; "" for a shared one
	shared       bool
	messageBytes int
	bytes        int // of one message, with what its handles stand for
	allMessages  int
	allBytes     int

	mu    sync.Mutex // taken after that of a flow
	ended bool       // its owner has: what is posted goes nowhere
	queue []message
	held  int            // bytes of the queue
	parts map[party]part // who has how much of it

	received, dropped uint64 // messages that found room, and posts that did not

	takers  row
	lines   []*line // those who wait for room, by party; none that has nothing there, if there is room for it
	entered []*wait // whose message has come into the queue; they are not told yet

	// readers are those who may receive from one that has an owner, the first of
	// them alone: the instances of the service, in the order of their admission.
	// Which of them it is depends on nothing that the others do.
	readers []*Env

	// above: the reader has received while its label did not flow to that of the
	// mailbox. Then what is left would tell the next reader what it knew.
	above bool

	said time.Time // when it was last recorded that a message was dropped
}

// message is one that waits.
type message struct {
	from    wire.Identity
	data    []byte
	objects []object
	bytes   int // what it counts for
}

// newMailbox makes one as it is declared.
func newMailbox(b Mailbox) *mailbox {
	messages, messageBytes := b.Messages, b.MessageBytes
	if messages == 0 {
		messages = DefaultMessages
	}
	if messageBytes == 0 {
		messageBytes = DefaultMessageBytes
	}
	bytes := min(max(messages*(messageBytes+envelopeBytes), minMailboxBytes), maxMailboxBytes)
	return &mailbox{
		name:         b.Name,
		as:           b,
		label:        b.Label,
		declared:     true,
		owner:        b.Owner,
		shared:       b.Owner == "",
		messageBytes: min(messageBytes, wire.MaxBody-maxEnvelope-len(b.Label.String())),
		bytes:        bytes,
		allMessages:  2 * messages,
		allBytes:     2 * bytes,
		parts:        make(map[party]part),
	}
}

// A handle of a mailbox is there to send to it. It is known to all that hold it what
// it takes, and of no size.
func (*mailbox) kind() string { return "mailbox" }
func (*mailbox) size() int    { return 0 }
func (*mailbox) gone(*Env)    {}

// owned is what its maker's handle of a mailbox stands for. Others who get it
// have one to send to it.
type owned struct{ *mailbox }

func (owned) kind() string      { return "mailbox" }
func (o owned) travels() object { return o.mailbox }

// gone ends the mailbox: its owner does not want it any more, or has ended.
func (o owned) gone(by *Env) {
	by.flow.mu.Lock()
	by.flow.mailboxes--
	by.flow.mu.Unlock()
	o.mu.Lock()
	o.ended, o.readers = true, nil
	o.empty()
	var waiting []*wait
	for w := o.takers.first; w != nil; w = o.takers.first {
		o.takers.remove(w)
		w.done = true
		waiting = append(waiting, w)
	}
	o.mu.Unlock()
	for _, w := range waiting {
		w.answer(wire.Told{}, wire.ErrDenied)
	}
}

// fits tells whether m can be in the mailbox at all. That is known to whoever sends
// it: it depends on m, and on what is fixed.
func (b *mailbox) fits(m *message) error {
	switch {
	case len(m.data) > b.messageBytes:
		return tooLarge("a message of %d bytes: this mailbox takes %d", len(m.data), b.messageBytes)
	case m.bytes > b.bytes:
		return tooLarge("a message with handles of %d bytes: this mailbox takes %d", m.bytes, b.bytes)
	}
	return nil
}

// tooLarge is a refusal of class A.
func tooLarge(format string, args ...any) error {
	return wire.Error{Code: wire.TooLarge, Message: fmt.Sprintf(format, args...)}
}

// reads tells whether e is who receives from a mailbox that has an owner. The caller
// holds mu.
func (b *mailbox) reads(e *Env) bool { return len(b.readers) > 0 && b.readers[0] == e }

// serve hands out messages to those who wait for them, and tells those whose
// message has come in. Whoever has changed the mailbox calls it, after he has
// answered who made him do so: that answer must not tell whether anybody waits. He
// does not do it for long, whatever others add meanwhile.
func (b *mailbox) serve() {
	for range maxServed {
		b.mu.Lock()
		entered := b.entered
		b.entered = nil
		var next *wait
		if len(b.queue) > 0 {
			next = b.takers.first
			for next != nil && !b.shared && !b.reads(next.env) { // of an owner that is being replaced
				next = next.place.after
			}
		}
		b.mu.Unlock()
		for _, w := range entered {
			w.answer(wire.Told{}, nil)
		}
		if next == nil {
			return
		}
		if told, err := next.try(true); err != errWait && err != errOver {
			next.answer(told, err)
		}
	}
	go b.serve()
}

// join makes e one of the readers, if it is an instance of the owner.
func (b *mailbox) join(e *Env) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers = append(b.readers, e)
}

// leave is for the end of e. What is left is for its successor, unless that would
// tell it what e has received, or has left where it is, at a label that the mailbox
// is below.
func (b *mailbox) leave(e *Env) {
	left := 0
	b.mu.Lock()
	if b.reads(e) && (b.above || !e.at().Label.FlowsTo(b.label)) {
		left = len(b.queue)
		b.empty()
		b.above = false
	}
	b.readers = slices.DeleteFunc(b.readers, func(o *Env) bool { return o == e })
	b.mu.Unlock()
	if left > 0 {
		e.limited(opRecv, b.name, fmt.Sprintf("dropped: %d messages that were left by who ended, or had received, above their label", left))
	}
	b.serve()
}
