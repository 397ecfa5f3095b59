package monitor

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// large is bank with n of everything that a manifest can have much of: services, grants, mailboxes and
// shares, all of them somebody else's.
func large(n int) Policy {
	p := bank()
	for i := range n {
		name := fmt.Sprintf("s%d", i)
		p.Services = append(p.Services, Service{Name: name, Methods: []Method{{Name: "m"}}, Ports: []int{80}})
		p.Mailboxes = append(p.Mailboxes, Mailbox{Name: "box" + name, Owner: name})
		p.Shares = append(p.Shares, Share{Name: "share" + name, From: "/srv/" + name})
		rule := fmt.Sprintf("m.yaml:%d", i)
		p.Grants = append(p.Grants,
			Grant{From: name, Kind: KindCall, To: "bank.balance", Rule: rule},
			Grant{From: name, Kind: KindPost, To: "letters", Rule: rule},
			Grant{From: "front", Kind: KindCall, To: name + ".m", Rule: rule},
			Grant{From: "front", Kind: KindPost, To: "box" + name, Rule: rule},
			Grant{From: "front", Kind: KindShare, To: "share" + name, Rule: rule})
	}
	return p
}

// A step of what is done with each call, each message, each start and each connection takes as much memory
// whether there are a hundred of everything or a thousand: what is built anew for it, or copied,
// is not of the size of the application.
func TestStepsDoNotGrow(t *testing.T) {
	steps := func(n int) map[string]float64 {
		l := newLab(t, large(n))
		front := l.admit("front", "front-1")
		for i := range n {
			l.admit(fmt.Sprintf("s%d", i), fmt.Sprintf("s%d-1", i))
		}
		has := front.rights.Load()
		for name := range has.policy.mailboxes {
			has.policy.mailboxes[name] = nil // whoever walked them all would fall over one
		}
		return map[string]float64{
			"decide": testing.AllocsPerRun(100, func() {
				if !has.grants.decide(opCall, "bank.balance", false).Allowed {
					t.Fatal("it is granted")
				}
			}),
			"refuse": testing.AllocsPerRun(100, func() {
				if has.grants.decide(opCall, "bank.absent", false).Allowed {
					t.Fatal("it is not granted")
				}
			}),
			"start and end": testing.AllocsPerRun(100, func() {
				e, err := l.m.Admit(wire.Identity{Service: "stranger", Instance: "stranger-1"})
				if err != nil {
					t.Fatal(err)
				}
				l.m.Remove(e)
			}),
			"share": testing.AllocsPerRun(100, func() {
				if name, _ := has.policy.shareOf("/srv/s7/a/b"); name != "shares7" {
					t.Fatal(name)
				}
			}),
		}
	}
	few, many := steps(100), steps(1000)
	for step, n := range many {
		if n > few[step]+1 {
			t.Errorf("%s: %v pieces of memory with a thousand of everything, %v with a hundred", step, n, few[step])
		}
	}
}

// Somebody's instance is found among those of all others without a look at them: each of these would
// be dialled, and none may be.
func TestConnectLooksAtOneKey(t *testing.T) {
	l := newLab(t, large(1))
	s := l.m.policy.Load().services["s0"]
	s.Instances = PerPrincipal
	defer func() { s.Instances = Shared }()
	for i := range 1000 {
		e := l.admit("s0", fmt.Sprintf("s0-%d", i))
		e.key = Key{Principal: fmt.Sprint(i)}
		e.Listening(func(context.Context, int) (net.Conn, error) {
			if i != 7 {
				t.Errorf("the instance of %d was dialled for 7", i)
			}
			a, b := net.Pipe()
			b.Close()
			return a, nil
		})
	}
	for key, other := range s.dialers {
		if key.Principal != "7" {
			other.of[0].env = nil // whoever walked them all would fall over one
		}
	}
	if n := len(s.dialers[Key{Principal: "7"}].of); n != 1 || len(s.dialers) != 1000 {
		t.Errorf("%d instances are looked at, of %d keys", n, len(s.dialers))
	}
	c, by, err := s.connect(t.Context(), 80, Key{Principal: "7"}, guard.Endpoint{}, byRelay)
	if err != nil || by.key.Principal != "7" {
		t.Fatal(by, err)
	}
	c.Close()
	l.m.Remove(by)
	if _, _, err := s.connect(t.Context(), 80, Key{Principal: "7"}, guard.Endpoint{}, byRelay); err == nil || len(s.dialers) != 999 {
		t.Errorf("after its end: %v, %d keys", err, len(s.dialers))
	}
}

// Who waits stands in one row, leaves it from wherever he is, and the others keep their order.
func TestRow(t *testing.T) {
	var r row
	all := make([]*wait, 6)
	for i := range all {
		all[i] = &wait{id: uint64(i)}
		r.add(all[i])
	}
	for _, i := range []int{0, 5, 2, 2} {
		r.remove(all[i])
	}
	var got []uint64
	for w := r.first; w != nil; w = w.place.after {
		got = append(got, w.id)
	}
	if fmt.Sprint(got) != "[1 3 4]" || r.count != 3 || r.last != all[4] {
		t.Errorf("%v, %d of them, the last %d", got, r.count, r.last.id)
	}
	for _, i := range []int{3, 4, 1} {
		r.remove(all[i])
	}
	if r != (row{}) {
		t.Errorf("an empty row: %+v", r)
	}
}

// To be told where in a queue something stands takes counting the queue, under its lock: who asks for it again
// and again pays for each place that he was told, and waits when he has no more.
func TestTurnsAreNotFree(t *testing.T) {
	l := newLab(t, bank())
	e := l.admit("front", "front-1")
	for range 3 {
		ctx, done := e.turn(t.Context(), "sandbox", "")
		defer done()
		TurnOf(ctx).Waits(func(label.Label) (n, of int) { return 1, 1 })
	}
	p := l.connect(e)
	rate := &e.refusals.rate
	began := time.Now()
	for range 10 {
		p.want(p.ask(wire.OpTurns, "", 0, nil), wire.OK, string(wire.AppendTurns(nil, e.tellTurns())))
	}
	p.want(p.ask(wire.OpHello, "", 0, nil), wire.OK, string(e.caller)) // what was asked before has been paid for
	e.refusals.mu.Lock()
	defer e.refusals.mu.Unlock()
	if least := began.Add(rate.cost(30) - rate.cost(rate.Burst)); e.refusals.paid.Before(least) {
		t.Errorf("thirty places have cost %v less than they should", least.Sub(e.refusals.paid))
	}
}

var sizes = []int{1, 10, 100, 1000, 10_000, 100_000}

// The benchmarks whose names begin so are read by bench/growth.

// A grant is revoked, and given again, by how many others the manifest has, how many environments there are,
// and how many connections are kept that are not meant. All are looked at, once for each change.
func BenchmarkGrowthRevoke(b *testing.B) {
	revoke := func(b *testing.B, l *lab, with Policy) {
		without := with
		without.Grants = with.Grants[:len(with.Grants)-1]
		for b.Loop() {
			for _, p := range []Policy{without, with} {
				if cut, err := l.m.Enforce(p); err != nil || cut.Any() {
					b.Fatal(cut, err)
				}
			}
		}
	}
	for _, n := range sizes {
		p := large(n/5 + 1) // five grants each
		b.Run(fmt.Sprintf("grants=%d", n), func(b *testing.B) { revoke(b, newLab(b, p), p) })
	}
	for _, n := range []int{1, 10, 100, 1000, 10_000} {
		p := large(1)
		l := newLab(b, p)
		for i := range n {
			if _, err := l.m.Admit(wire.Identity{Service: "front", Instance: fmt.Sprint("front-", i)}); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("environments=%d", n), func(b *testing.B) { revoke(b, l, p) })
	}
	for _, n := range []int{1, 10, 100, 1000} {
		p := large(1)
		l := newLab(b, p)
		bank := l.admit("bank", "bank-1")
		bank.Listening(newInside(b).dial)
		keep(b, l, n)
		eventually(b, "all are there", func() bool { return len(bank.inboundNow()) == n })
		b.Run(fmt.Sprintf("kept=%d", n), func(b *testing.B) { revoke(b, l, p) })
	}
}

// keep has environments of front open n connections to bank, and keep them.
func keep(b *testing.B, l *lab, n int) {
	for i := 0; n > 0; i++ {
		byName := listen(b)
		go l.admit("front", fmt.Sprint("front-", i)).Relay(byName, "bank", 9000)
		for range min(n, MaxRelays) {
			c, err := net.Dial("tcp", byName.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { c.Close() })
		}
		n -= MaxRelays
	}
}

func BenchmarkGrowthDecision(b *testing.B) {
	for _, n := range sizes {
		l := newLab(b, large(n/5+1)) // five grants each
		has := l.admit("front", "front-1").rights.Load()
		b.Run(fmt.Sprintf("grants=%d", n), func(b *testing.B) {
			for b.Loop() {
				if !has.grants.decide(opCall, "bank.balance", false).Allowed {
					b.Fatal("it is granted")
				}
			}
		})
	}
}

func BenchmarkGrowthAdmit(b *testing.B) {
	for _, n := range sizes {
		p := bank()
		for i := range n {
			p.Mailboxes = append(p.Mailboxes, Mailbox{Name: fmt.Sprintf("box%d", i), Owner: "bank"})
		}
		l := newLab(b, p)
		b.Run(fmt.Sprintf("mailboxes=%d", n), func(b *testing.B) {
			for b.Loop() {
				e, err := l.m.Admit(wire.Identity{Service: "stranger", Instance: "stranger-1"})
				if err != nil {
					b.Fatal(err)
				}
				l.m.Remove(e)
			}
		})
	}
}

// A connection to the instance of one of n principals, as far as it takes to find it.
func BenchmarkGrowthConnect(b *testing.B) {
	a, far := net.Pipe()
	defer a.Close()
	defer far.Close()
	for _, n := range sizes {
		l := newLab(b, large(1))
		s := l.m.policy.Load().services["s0"]
		s.Instances = PerPrincipal
		for i := range n {
			e, err := l.m.Admit(wire.Identity{Service: "s0", Instance: fmt.Sprintf("s0-%d", i)})
			if err != nil {
				b.Fatal(err)
			}
			e.key = Key{Principal: fmt.Sprint(i)}
			e.Listening(func(context.Context, int) (net.Conn, error) { return a, nil })
		}
		runtime.GC()
		b.Run(fmt.Sprintf("principals=%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, _, err := s.connect(context.Background(), 80, Key{Principal: fmt.Sprint(i % n)}, guard.Endpoint{}, byRelay); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// One more who waits for a mailbox, and withdraws, beside n who do.
func BenchmarkGrowthWait(b *testing.B) {
	for _, n := range sizes {
		var r row
		for range n {
			r.add(new(wait))
		}
		b.Run(fmt.Sprintf("waiting=%d", n), func(b *testing.B) {
			w := new(wait)
			for b.Loop() {
				r.add(w)
				r.remove(w)
			}
		})
	}
}

// A message into a mailbox and out of it, beside n that wait in it.
func BenchmarkGrowthMessage(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 4000} {
		box := newMailbox(Mailbox{Name: "box", Messages: MaxMessages})
		for range n {
			box.push(message{bytes: 1})
		}
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			for b.Loop() {
				box.push(message{bytes: 1})
				box.pop()
			}
		})
	}
}

// To go to a label, and to be asked for one that is as large, by how many clauses both have.
func BenchmarkGrowthLabels(b *testing.B) {
	for _, n := range []int{1, 4, 16, 64} {
		var clauses []string
		for i := range n {
			clauses = append(clauses, fmt.Sprintf("p%d", i))
		}
		f := label.MustParseFormula(strings.Join(clauses, " & "))
		high := label.New(f, label.True)
		more := label.New(f.And(label.MustParseFormula("another")), label.True)
		b.Run(fmt.Sprintf("clauses=%d", n), func(b *testing.B) {
			for b.Loop() {
				if !high.FlowsTo(more) || more.FlowsTo(high) {
					b.Fatal("the other way round")
				}
			}
		})
	}
}

// To use a privilege that was passed on n times, while something is revoked elsewhere.
func BenchmarkGrowthPrivilege(b *testing.B) {
	for _, n := range []int{1, 4, 16, 64} {
		last := &privilege{what: label.MustParseFormula("p")}
		for range n {
			next := &privilege{what: last.what}
			next.parents.Store(&[]*privilege{last})
			last = next
		}
		b.Run(fmt.Sprintf("passed=%d", n), func(b *testing.B) {
			for i := uint64(1); b.Loop(); i++ {
				if !last.alive(i) {
					b.Fatal("nobody has revoked it")
				}
			}
		})
	}
}
