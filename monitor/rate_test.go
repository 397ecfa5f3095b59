package monitor

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/label"
	"cofferdam/wire"
)

// perSecond is a rate whose burst is what comes in a second.
func perSecond(n int64) Rate { return Rate{Amount: n, Per: time.Second, Burst: n} }

func TestBucket(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1e9, 0).Add(time.Duration(ms) * time.Millisecond) }
	b := bucket{rate: perSecond(4)}
	for i, tt := range []struct {
		ms   int
		want time.Duration // 0 if there is one
	}{
		{0, 0}, {0, 0}, {0, 0}, {0, 0}, {0, 250}, {249, 1}, {250, 0}, {250, 250},
		{10_000, 0}, {10_000, 0}, {10_000, 0}, {10_000, 0}, {10_000, 250},
	} {
		wait, ok := b.try(1, at(tt.ms))
		if ok != (tt.want == 0) || wait != tt.want*time.Millisecond {
			t.Errorf("%d: try at %d ms = %v, %t, want %d ms", i, tt.ms, wait, ok, tt.want)
		}
	}
	b = bucket{rate: perSecond(1000)}
	for i, tt := range []struct {
		n    int64
		ms   int
		want time.Duration
	}{{1000, 0, 0}, {500, 0, 500 * time.Millisecond}, {500, 0, time.Second}, {500, 500, time.Second}, {0, 10_000, 0}, {1500, 10_000, 500 * time.Millisecond}} {
		if got := b.take(tt.n, at(tt.ms)); got != tt.want {
			t.Errorf("%d: take %d at %d ms = %v, want %v", i, tt.n, tt.ms, got, tt.want)
		}
	}
	// A large one passes if there is one token, and has to be paid for before the next.
	b = bucket{rate: Rate{Amount: 60, Per: time.Minute, Burst: 10}}
	for i, tt := range []struct {
		n    int64
		ms   int
		want time.Duration
	}{{30, 0, 0}, {1, 0, 21 * time.Second}, {1, 21_000, 0}} {
		if got, ok := b.try(tt.n, at(tt.ms)); got != tt.want || ok != (tt.want == 0) {
			t.Errorf("%d: try %d at %d ms = %v, %t, want %v", i, tt.n, tt.ms, got, ok, tt.want)
		}
	}
	b.give(1)
	if _, ok := b.try(1, at(21_000)); !ok {
		t.Error("what is given back is not there")
	}
	if wait, ok := new(bucket).try(1, at(0)); ok || wait != 0 {
		t.Errorf("a rate of nothing: %v, %t", wait, ok)
	}
}

// scarce is a rate whose burst does not come back while a test runs.
func scarce(burst int64) Rate { return Rate{Amount: 1, Per: time.Hour, Burst: burst} }

// with is the bank's policy, changed.
func with(change func(p *Policy)) Policy {
	p := bank()
	change(&p)
	return p
}

// rated gives grants to an object rates.
func (p *Policy) rated(to string, kind Kind, r Rates) {
	r.Rule = "m.yaml:77"
	for i := range p.Grants {
		if p.Grants[i].To == to && p.Grants[i].Kind == kind {
			p.Grants[i].Rates = r
		}
	}
}

// provided gives a method of the bank rates.
func (p *Policy) provided(method string, r Rates) {
	r.Rule = "m.yaml:78"
	for i := range p.Services {
		for j := range p.Services[i].Methods {
			if p.Services[i].Methods[j].Name == method {
				p.Services[i].Methods[j].Rates = r
			}
		}
	}
}

// admitFor is admit for one that runs for somebody.
func (l *lab) admitFor(service, instance, principal string) *Env {
	l.t.Helper()
	e, err := l.m.Admit(wire.Identity{Service: service, Instance: instance, Principal: principal})
	if err != nil {
		l.t.Fatal(err)
	}
	l.asStarted(e)
	l.t.Cleanup(func() { l.m.Remove(e) })
	return e
}

// limited asks for what is beyond a rate, and returns what it is told.
func (p *peer) limited(op wire.Op, name string, body []byte) string {
	p.t.Helper()
	id := p.ask(op, name, 0, body)
	f := p.next()
	if f.Op != wire.OpReply || f.ID != id || f.Code != wire.Limited || f.Timeout <= 0 || f.Timeout > 1000*time.Hour {
		p.t.Fatalf("%v %s is answered with %v %v %q, to try again in %v, want that it is limited", op, name, f.Op, f.Code, f.Body, f.Timeout)
	}
	return string(f.Body)
}

// fired are the limits on record since this was last asked.
func (l *lab) fired() (all []string) {
	for _, r := range l.decisions() {
		if r.Kind == audit.KindLimit {
			all = append(all, fmt.Sprintf("%s %s %s %s %s", r.Subject, r.Op, r.Object, r.Rule, r.Detail))
		}
	}
	return all
}

// A grant is good for so many calls of all instances, and other grants do not know of it.
func TestCallsAreLimited(t *testing.T) {
	l := newLab(t, with(func(p *Policy) { p.rated("bank.balance", KindCall, Rates{Calls: scarce(3)}) }))
	_, server := l.server("bank", "bank-1", "balance", "look")
	go server.echo()
	one, two := l.connect(l.admit("front", "front-1")), l.connect(l.admit("front", "front-2"))
	one.want(one.call("bank.balance", "a"), wire.OK, "a")
	two.want(two.call("bank.balance", "b"), wire.OK, "b")
	one.want(one.call("bank.balance", "c"), wire.OK, "c")
	for _, p := range []*peer{one, two} {
		if got, want := p.limited(wire.OpCall, "bank.balance", nil), "rate.calls: 1/h burst 3"; got != want {
			t.Errorf("who is refused reads %q, want %q", got, want)
		}
		p.want(p.call("bank.look", "d"), wire.OK, "d")
		p.want(p.call("bank.give", "d"), wire.Denied, "") // not: limited
	}
	want := []string{"front call bank.balance m.yaml:77 rate.calls: 1/h burst 3: more is refused; how often is said at most once in 1m0s"}
	if got := l.fired(); !slices.Equal(got, want) {
		t.Errorf("on record are %q, want %q", got, want)
	}
}

// A provider's rate counts each service that calls, or each principal, in whatever service.
func TestProvidedRates(t *testing.T) {
	for _, each := range []bool{false, true} {
		l := newLab(t, with(func(p *Policy) {
			rate := scarce(2)
			rate.Each = each
			p.provided("balance", Rates{Calls: rate})
			p.Grants = append(p.Grants, Grant{From: "stranger", Kind: KindCall, To: "bank.balance", Rule: "m.yaml:9"})
		}))
		_, server := l.server("bank", "bank-1", "balance")
		go server.echo()
		connect := func(service, principal string) *peer {
			return l.connect(l.admitFor(service, service+"-of-"+principal, principal))
		}
		alice, bob, nobody, stranger := connect("front", "alice"), connect("front", "bob"), connect("front", ""), connect("stranger", "alice")
		once := func(p *peer) {
			t.Helper()
			p.want(p.call("bank.balance", "x"), wire.OK, "x")
		}
		once(alice)
		once(alice)
		alice.limited(wire.OpCall, "bank.balance", nil)
		if each {
			stranger.limited(wire.OpCall, "bank.balance", nil)
			once(bob)
			once(bob)
			once(nobody) // who runs for nobody counts as the service
			once(nobody)
			bob.limited(wire.OpCall, "bank.balance", nil)
			nobody.limited(wire.OpCall, "bank.balance", nil)
			continue
		}
		bob.limited(wire.OpCall, "bank.balance", nil)
		nobody.limited(wire.OpCall, "bank.balance", nil)
		once(stranger)
		once(stranger)
		stranger.limited(wire.OpCall, "bank.balance", nil)
	}
}

// All that runs for somebody has a total, whatever it does.
func TestTotalsOfAPrincipal(t *testing.T) {
	l := newLab(t, with(func(p *Policy) {
		p.PerPrincipal = Rates{Calls: scarce(2), Messages: scarce(1), Spawns: scarce(1), Rule: "m.yaml:79"}
	}))
	_, server := l.server("bank", "bank-1", "balance", "look")
	go server.echo()
	one, two := l.connect(l.admitFor("front", "front-1", "alice")), l.connect(l.admitFor("front", "front-2", "alice"))
	one.want(one.call("bank.balance", "a"), wire.OK, "a")
	two.want(two.call("bank.look", "b"), wire.OK, "b")
	if got, want := one.limited(wire.OpCall, "bank.look", nil), "budget.per_principal.calls: 1/h burst 2 per principal"; got != want {
		t.Errorf("who is refused reads %q, want %q", got, want)
	}
	one.does(wire.OpPost, post("letters", "x"))
	two.limited(wire.OpPut, "", putAsk("jobs", "x"))
	two.limited(wire.OpPost, "", putAsk("jobs", "x"))
	one.ask(wire.OpSpawn, "sandbox", 0, nil)
	l.spawner.next(t)
	two.limited(wire.OpSpawn, "sandbox", nil)
	for _, other := range []*peer{l.connect(l.admitFor("front", "front-3", "bob")), l.connect(l.admit("front", "front-4"))} {
		other.want(other.call("bank.balance", "a"), wire.OK, "a")
		other.want(other.call("bank.balance", "a"), wire.OK, "a")
		other.does(wire.OpPost, post("letters", "x"))
	}
}

func putAsk(name, text string) []byte {
	a := post(name, text)
	return a.Append(nil, wire.OpPut)
}

// What is asked and answered is paid for before the next call.
func TestBytesOfCalls(t *testing.T) {
	l := newLab(t, with(func(p *Policy) { p.rated("bank.balance", KindCall, Rates{Bytes: scarce(1000)}) }))
	_, server := l.server("bank", "bank-1", "balance")
	go server.echo()
	p := l.connect(l.admit("front", "front-1"))
	text := strings.Repeat("x", 499)
	p.want(p.call("bank.balance", text), wire.OK, text)
	p.want(p.call("bank.balance", text), wire.OK, text) // 2 were left
	if got, want := p.limited(wire.OpCall, "bank.balance", nil), "rate.bytes: 1/h burst 1000"; got != want {
		t.Errorf("who is refused reads %q, want %q", got, want)
	}
}

// Messages and spawns have rates, and a take is one whatever it finds.
func TestMessagesAndSpawnsAreLimited(t *testing.T) {
	l := newLab(t, with(func(p *Policy) {
		p.rated("letters", KindPost, Rates{Messages: scarce(2)})
		p.rated("jobs", KindPut, Rates{Bytes: scarce(10)})
		p.rated("jobs", KindTake, Rates{Messages: scarce(2)})
		p.rated("sandbox", KindSpawn, Rates{Spawns: scarce(1)})
	}))
	p := l.connect(l.admit("front", "front-1"))
	p.does(wire.OpPost, post("letters", "x"))
	p.does(wire.OpPost, post("letters", "x"))
	p.limited(wire.OpPost, "", putAsk("letters", "x"))
	p.does(wire.OpPut, post("jobs", "a message of more than ten"))
	p.limited(wire.OpPut, "", putAsk("jobs", "x"))
	take := named("jobs")
	p.does(wire.OpTake, take)
	p.fails(wire.OpTake, take, wire.Empty, "")
	p.limited(wire.OpTake, "", take.Append(nil, wire.OpTake))
	p.ask(wire.OpSpawn, "sandbox", 0, nil)
	l.spawner.next(t)
	p.limited(wire.OpSpawn, "sandbox", nil)
	if got := l.fired(); len(got) != 4 {
		t.Errorf("on record are %q, want one of each", got)
	}
}

// A connection too many is refused with words where HTTP is spoken, and its bytes take as long
// as the rate says.
func TestConnectionsAreLimited(t *testing.T) {
	l := newLab(t, with(func(p *Policy) {
		p.rated("bank:9000", KindConnect, Rates{Connections: scarce(1), Bytes: Rate{Amount: 64 << 10, Per: time.Second, Burst: 64 << 10}})
		p.rated("bank:8081", KindConnect, Rates{Connections: scarce(1)})
	}))
	in := newInside(t)
	front := l.admit("front", "front-1")
	l.admit("bank", "bank-1").Listening(in.dial)
	dial := relayed(t, front, "bank", 9000)
	near := dial()
	far := in.accept(t)
	began := time.Now()
	go near.Write(make([]byte, 128<<10))
	if _, err := io.ReadFull(far, make([]byte, 128<<10)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("128K at 64K a second, with a burst of one, took %v", took)
	}
	wantEnd(t, dial())
	dialHTTP := relayed(t, front, "bank", 8081)
	dialHTTP() // to a door that is not there
	eventually(t, "the one is used", func() bool {
		c := dialHTTP()
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || answer.StatusCode == http.StatusServiceUnavailable {
			return false
		}
		if after, err := strconv.Atoi(answer.Header.Get("Retry-After")); answer.StatusCode != http.StatusTooManyRequests || err != nil || after < 1 || after > 3600 {
			t.Fatalf("answered %v, %v", answer.Status, answer.Header)
		}
		return true
	})
}

// An instance that has risen shares nothing with those that have not: what it does is
// nothing for them to see. And it does not get a new burst by rising.
func TestRatesTellNothing(t *testing.T) {
	p := office(t)
	p.rated("inbox", KindPost, Rates{Messages: scarce(4)})
	p.rated("secrets", KindPost, Rates{Messages: scarce(4)})
	l := newLab(t, p)
	e, up := l.fresh("low")
	_, stays := l.fresh("low")
	up.does(wire.OpPost, post("secrets", "x"))
	up.does(wire.OpRaise, wire.Ask{Label: label.MustParse("alice %% True")})
	for range 3 {
		up.does(wire.OpPost, post("secrets", "x"))
	}
	up.limited(wire.OpPost, "", putAsk("secrets", "x"))
	if e.payer().instance == 0 {
		t.Error("who has risen counts as those who have not")
	}
	for range 3 {
		stays.does(wire.OpPost, post("secrets", "x"))
	}
	stays.limited(wire.OpPost, "", putAsk("secrets", "x"))
}

// Whoever floods is answered each time, at once, and fills neither the log nor memory.
func TestRefusalsAreQuickAndQuiet(t *testing.T) {
	l := newLab(t, with(func(p *Policy) { p.rated("bank.balance", KindCall, Rates{Calls: scarce(1)}) }))
	_, server := l.server("bank", "bank-1", "balance")
	go server.echo()
	p := l.connect(l.admit("front", "front-1"))
	p.want(p.call("bank.balance", ""), wire.OK, "")
	const flood = 20_000 // as denials, these would take minutes: see ration
	go func() {
		for i := range uint64(flood) {
			p.nc.Write(wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: 100 + i}, NameBytes: []byte("bank.balance")}))
		}
	}()
	for range flood {
		if f := p.next(); f.Code != wire.Limited {
			t.Fatalf("answered %v", f.Code)
		}
	}
	if got := l.decisions(); len(got) > 10 {
		t.Errorf("%d records", len(got))
	}
	limit := p.limitOf(l)
	b := limit.of(payer{service: "front"})
	b.mu.Lock()
	more := b.refused
	b.mu.Unlock()
	if more != flood-1 {
		t.Errorf("counted %d more, want %d", more, flood-1)
	}
	e := l.admit("front", "front-2")
	limit.summarise(e, "", b, opCall, "bank.balance")
	limit.summarise(e, "", b, opCall, "bank.balance") // nothing since: nothing to say
	if got := l.fired(); len(got) != 1 || !strings.HasSuffix(got[0], fmt.Sprintf("%d more in the last 1m0s", flood-1)) {
		t.Errorf("summary: %q", got)
	}
}

func (p *peer) limitOf(l *lab) *limit {
	return l.m.policy.Load().of("front")[KindCall]["bank.balance"].toll.uses[0]
}

// However many there are to count apart, a limit keeps so many buckets and no more.
func TestBucketsAreBounded(t *testing.T) {
	rate := scarce(2)
	rate.Each = true
	l := newLimit(rate, "rate.calls", "")
	first := payer{service: "front", principal: "first"}
	now := time.Now()
	l.of(first).try(1, now)
	for i := range 3 * maxBuckets {
		p := payer{service: "front", principal: strconv.Itoa(i)}
		if i%2 == 0 {
			l.of(p).try(1, now)
		} else {
			l.of(p)
		}
		if len(l.buckets) > maxBuckets {
			t.Fatalf("%d buckets", len(l.buckets))
		}
	}
}

// What is within a rate costs no memory, and without one nothing.
func TestRatesAllocateNothing(t *testing.T) {
	l := newLab(t, with(func(p *Policy) {
		p.rated("bank.balance", KindCall, Rates{Calls: perSecond(1e9), Bytes: perSecond(1 << 40)})
		p.provided("balance", Rates{Calls: Rate{Amount: 1e9, Per: time.Second, Burst: 1e9, Each: true}})
		p.PerPrincipal = Rates{Calls: perSecond(1e9)}
	}))
	e := l.admitFor("front", "front-1", "alice")
	toll := l.m.policy.Load().of("front")[KindCall]["bank.balance"].toll
	if n := testing.AllocsPerRun(1000, func() {
		if err := e.within(opCall, "bank.balance", toll, 64); err != nil {
			t.Fatal(err)
		}
		e.payer().owe(64, toll, e.total(KindCall))
	}); n != 0 {
		t.Errorf("%v allocations each", n)
	}
}

// Any number of instances together get no more than the rate.
func TestRateHoldsForAllTogether(t *testing.T) {
	const burst = 1000
	l := newLimit(scarce(burst), "rate.calls", "")
	toll := &toll{uses: []*limit{l, newLimit(scarce(burst*10), "rate.calls", "")}}
	var passed atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range burst {
				if (payer{service: "front"}).charge(time.Now(), 0, toll) == nil {
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if passed.Load() != burst {
		t.Errorf("%d passed, want %d", passed.Load(), burst)
	}
	if b := toll.uses[1].of(payer{service: "front"}); b.full(time.Now()) {
		t.Error("the other limit counted nothing")
	}
}

func BenchmarkRate(b *testing.B) {
	l := newLab(b, with(func(p *Policy) {
		p.rated("bank.balance", KindCall, Rates{Calls: perSecond(1e9)})
	}))
	e := l.admitFor("front", "front-1", "alice")
	toll := l.m.policy.Load().of("front")[KindCall]["bank.balance"].toll
	for _, name := range []string{"none", "calls"} {
		of := toll
		if name == "none" {
			of = nil
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := e.within(opCall, "bank.balance", of, 64); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
