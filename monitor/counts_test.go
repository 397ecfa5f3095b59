package monitor

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"cofferdam/numbers"
	"cofferdam/wire"
)

// TestEveryOperationIsCounted finds an operation that has no place of its own among what
// is counted: its decisions would be taken for those of another.
func TestEveryOperationIsCounted(t *testing.T) {
	for i, o := range operations {
		if o.n != i {
			t.Errorf("operation %q is number %d among the operations, and says %d", o.name, i, o.n)
		}
	}
	declared := regexp.MustCompile(`\bop\{(?:n: \d+, )?name: "(\w+)"`)
	files, _ := filepath.Glob("*.go")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			if !slices.ContainsFunc(operations[:], func(o op) bool { return o.name == m[1] }) {
				t.Errorf("%s: operation %q is not among the operations", f, m[1])
			}
		}
	}
}

// counted is what a lab has counted of a service.
func (l *lab) counted(service string) *numbers.Service {
	var s numbers.Snapshot
	l.m.Count(&s)
	return s.Service(service)
}

func methodOf(s *numbers.Service, name string) numbers.Method {
	i := slices.IndexFunc(s.Methods, func(m numbers.Method) bool { return m.Name == name })
	return s.Methods[i]
}

func TestCallsAreCounted(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	queued := p.call("bank.balance", "12345")
	eventually(t, "the call waits", func() bool { return methodOf(l.counted("bank"), "balance").Queued == 1 })
	if s := l.counted("bank"); s.Waiting() != 1 || methodOf(s, "balance").Running != 1 {
		t.Errorf("one call waits, counted %+v", s)
	}
	_, server := l.server("bank", "bank-1", "balance", "brief")
	server.reply(server.called("balance").ID, wire.OK, "123")
	p.want(queued, wire.OK, "123")
	failing := p.call("bank.balance", "")
	server.reply(server.called("balance").ID, wire.Failed, "no")
	p.want(failing, wire.Failed, "no")
	late := p.call("bank.brief", "")
	server.called("brief")
	p.want(late, wire.Deadline, "")
	for _, name := range []string{"bank.give", "bank.nothing", "nobody.there"} {
		p.want(p.call(name, ""), wire.Denied, "")
	}

	bank := l.counted("bank")
	m := methodOf(bank, "balance")
	if m.Ended["ok"] != 1 || m.Ended["failed"] != 1 || m.Running != 0 || m.Queued != 0 || m.InBytes != 5 || m.OutBytes != 5 {
		t.Errorf("balance: counted %+v", m)
	}
	if m.Duration.Count() != 2 || m.Waits.Count() != 1 || m.Waits.Sum <= 0 || m.Waits.Sum > m.Duration.Sum {
		t.Errorf("balance: duration %+v, waits %+v", m.Duration, m.Waits)
	}
	if m := methodOf(bank, "brief"); m.Ended["deadline"] != 1 || m.Duration.Sum < 50*time.Millisecond {
		t.Errorf("brief: counted %+v", m)
	}
	if ended, failed := bank.Calls(); ended != 3 || failed != 2 {
		t.Errorf("bank: %d calls of which %d failed, want 3 and 2", ended, failed)
	}
	front := l.counted("front")
	if d := front.Decisions; len(d) != 1 || d[0] != (numbers.Decision{Op: "call", Allowed: 3, Denied: 3}) {
		t.Errorf("front: decisions %+v", d)
	}
	if front.Denials["default"] != 3 || front.Denied() != 3 {
		t.Errorf("front: denials %v", front.Denials)
	}
}

// TestLimitsAreCounted: what does not fit is counted each time, though the log says it
// once in a while.
func TestLimitsAreCounted(t *testing.T) {
	l := newLab(t, bank())
	p := l.connect(l.admit("front", "front-1"))
	for range maxQueuedEach {
		p.ask(wire.OpCall, "bank.balance", time.Minute, nil)
	}
	for range 3 {
		p.want(p.call("bank.balance", ""), wire.Busy, "")
	}
	if got := l.counted("front").Limits["queue"]; got != 3 {
		t.Errorf("three calls too many, counted %d", got)
	}
	if m := methodOf(l.counted("bank"), "balance"); m.Queued != maxQueuedEach || m.Ended["busy"] != 3 {
		t.Errorf("balance: counted %+v", m)
	}
}

// TestRatesAreCounted: each time, though the log says it once in a while.
func TestRatesAreCounted(t *testing.T) {
	l := newLab(t, with(func(p *Policy) { p.rated("bank.balance", KindCall, Rates{Calls: scarce(2)}) }))
	_, server := l.server("bank", "bank-1", "balance")
	go server.echo()
	p := l.connect(l.admit("front", "front-1"))
	for range 5 {
		p.call("bank.balance", "")
		p.next()
	}
	if got := l.counted("front").Limits["rate"]; got != 3 {
		t.Errorf("three calls beyond the rate, counted %d", got)
	}
	if m := methodOf(l.counted("bank"), "balance"); m.Ended["ok"] != 2 || m.Duration.Count() != 2 {
		t.Errorf("balance: counted %+v", m)
	}
}

func TestConnectionsAreCounted(t *testing.T) {
	l, front, _, near, far := relayPair(t)
	io.WriteString(near, "12345")
	wantBytes(t, far, "12345")
	io.WriteString(far, "123")
	wantBytes(t, near, "123")
	link := func() numbers.Link {
		for _, link := range l.counted("front").Links {
			if link.To == "bank:9000" {
				return link
			}
		}
		t.Fatal("bank:9000 is not counted")
		return numbers.Link{}
	}
	if got, want := link(), (numbers.Link{To: "bank:9000", Open: 1, Total: 1, OutBytes: 5, InBytes: 3}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	near.Close()
	far.Close()
	eventually(t, "the relay is gone", func() bool { return relaysOf(front) == 0 })
	if got := link(); got.Open != 0 || got.Total != 1 {
		t.Errorf("after its end counted %+v", got)
	}
}

func TestMailboxesAreCounted(t *testing.T) {
	p := bank()
	p.Mailboxes = append(p.Mailboxes, Mailbox{Name: "news", Owner: "bank", Messages: 2})
	p.Grants = append(p.Grants, Grant{From: "front", Kind: KindPost, To: "news", Rule: "m.yaml:9"})
	l := newLab(t, p)
	owner := l.connect(l.admit("bank", "bank-1"))
	poster := l.connect(l.admit("front", "front-1"))
	for range 3 { // the third finds no room
		poster.does(wire.OpPost, wire.Ask{Name: "news", Data: []byte("x")})
	}
	owner.does(wire.OpRecv, wire.Ask{Name: "news"})
	var s numbers.Snapshot
	l.m.Count(&s)
	at := slices.IndexFunc(s.Mailboxes, func(b numbers.Mailbox) bool { return b.Name == "news" })
	if at < 0 {
		t.Fatalf("mailboxes %+v", s.Mailboxes)
	}
	if b := s.Mailboxes[at]; b.Messages != 1 || b.Received != 2 || b.Dropped != 1 || b.Bytes == 0 {
		t.Errorf("counted %+v", b)
	}
}
