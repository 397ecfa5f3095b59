package monitor

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// only is p with those of its grants that keep says.
func only(p Policy, keep func(Grant) bool) Policy {
	p.Grants = slices.DeleteFunc(slices.Clone(p.Grants), func(g Grant) bool { return !keep(g) })
	return p
}

func (l *lab) enforce(p Policy) Cut {
	l.t.Helper()
	cut, err := l.m.Enforce(p)
	if err != nil {
		l.t.Fatal(err)
	}
	return cut
}

// openings is one of everything that front can begin, open.
type openings struct {
	l                  *lab
	front              *Env
	p, server          *peer
	call, queued, take uint64
	child, apart       *run
	childID            uint64
	near, far          *net.TCPConn
	out                net.Conn // front's end of a way out
	remote             net.Conn
	mounter            *fakeMounter
	in                 *inside
	connect            func() *net.TCPConn
	program            *run // that answers a call
	line               uint64
	dir                string
	untouched          *peer // of another service, with a call in flight
	untouchedID        uint64
	other              *Env
	inner              *internet
	policy             Policy
	result             []uint64 // handle of that of apart
}

func open(t *testing.T) *openings {
	t.Helper()
	p, dirs := shared(t)
	p.Grants = append(p.Grants, Grant{From: "stranger", Kind: KindCall, To: "bank.balance", Rule: "m.yaml:9"})
	makeDirs(t, dirs["theories"], "a")
	l := newLab(t, p)
	o := &openings{l: l, policy: p, in: newInside(t), mounter: newFakeMounter(t), dir: "/srv/theories/a"}
	o.inner = newInternet(l, map[string]string{"public.example": "9.9.9.9"})
	o.inner.far = make(chan net.Conn, 8)
	o.front = l.admit("front", "front-1")
	o.front.Mounting(o.mounter)
	var bankEnv *Env
	bankEnv, o.server = l.server("bank", "bank-1", "balance")
	bankEnv.Listening(o.in.dial)
	o.p = l.connect(o.front)
	o.call = o.p.call("bank.balance", "x")
	o.server.called("balance")
	o.other = l.admit("stranger", "stranger-1")
	o.untouched = l.connect(o.other)
	o.untouchedID = o.untouched.call("bank.balance", "y")
	o.server.called("balance")
	o.queued = o.p.call("bank.look", "x") // nobody answers it
	o.take = o.p.start(wire.OpTake, time.Hour, named("jobs"))
	o.childID = o.p.ask(wire.OpSpawn, "sandbox", 0, nil)
	o.child = l.spawner.next(t)
	pub := label.Public
	o.result = o.p.mustTell(o.p.ask(wire.OpSpawn, "sandbox", 0, (&wire.Spawn{Result: &pub}).Append(nil)))
	o.apart = l.spawner.next(t)
	o.line = o.p.call("script.run", "x")
	o.program = l.spawner.next(t)
	o.connect = relayed(t, o.front, "bank", 9000)
	o.near = o.connect()
	o.far = o.in.accept(t)
	io.WriteString(o.near, "hello")
	wantBytes(t, o.far, "hello")
	o.out = o.leave()
	o.remote = <-o.inner.far
	o.p.mount(wire.Mount{Dir: o.dir})
	return o
}

// mustTell is told for what must work.
func (p *peer) mustTell(id uint64) []uint64 {
	p.t.Helper()
	told, err := p.told(id)
	if err != nil {
		p.t.Fatal(err)
	}
	return told.Handles
}

func (o *openings) leave() net.Conn {
	ln := listen(o.l.t)
	go o.front.Egress(ln, "public.example:443")
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		o.l.t.Fatal(err)
	}
	o.l.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// replies reads so many, by id.
func (p *peer) replies(n int) map[uint64]wire.Code {
	p.t.Helper()
	all := make(map[uint64]wire.Code)
	for range n {
		f := p.next()
		all[f.ID] = f.Code
	}
	return all
}

// When a grant goes, what was begun by it ends, at once and with an answer, and
// nobody else notices. When it comes back it works.
func TestEnforceCuts(t *testing.T) {
	o := open(t)
	l := o.l
	cut := l.enforce(only(o.policy, func(g Grant) bool { return g.From != "front" }))
	if want := (Cut{Calls: 3, Connections: 2, Waits: 1, Children: 2, Mounts: 1}); cut != want {
		t.Errorf("cut %+v, want %+v", cut, want)
	}
	got := o.p.replies(5)
	want := map[uint64]wire.Code{o.call: wire.Canceled, o.queued: wire.Canceled, o.line: wire.Canceled, o.take: wire.Canceled, o.childID: wire.Canceled}
	if !maps.Equal(got, want) {
		t.Errorf("answers %v, want %v", got, want)
	}
	if f := o.server.next(); f.Op != wire.OpCancel {
		t.Errorf("the server is told %v, want a withdrawal", f.Op)
	}
	wantEnd(t, o.near)
	wantEnd(t, o.far)
	wantEnd(t, o.out)
	<-o.apart.ctx.Done()
	<-o.child.ctx.Done()
	<-o.program.ctx.Done()
	if left := o.mounter.targets(); len(left) != 0 {
		t.Errorf("%v are still mounted", left)
	}
	o.server.reply(2, wire.OK, "z")
	o.untouched.want(o.untouchedID, wire.OK, "z")

	// Nothing of it can be begun anew.
	if wantEnd(t, o.connect()); relaysOf(o.front) != 0 {
		eventually(t, "no relay is left", func() bool { return relaysOf(o.front) == 0 })
	}
	wantEnd(t, o.leave())
	for _, ask := range []func() uint64{
		func() uint64 { return o.p.call("bank.balance", "x") },
		func() uint64 { return o.p.call("script.run", "x") },
		func() uint64 { return o.p.start(wire.OpTake, time.Hour, named("jobs")) },
		func() uint64 { return o.p.start(wire.OpPost, 0, post("letters", "x")) },
		func() uint64 { return o.p.ask(wire.OpSpawn, "sandbox", 0, nil) },
		func() uint64 { return o.p.ask(wire.OpMount, "", 0, (&wire.Mount{Dir: o.dir}).Append(nil)) },
	} {
		o.p.want(ask(), wire.Denied, "")
	}
	o.p.does(wire.OpDrop, wire.Ask{Handles: o.result})
	l.booksAreEmpty()

	if cut := l.enforce(o.policy); cut.Any() {
		t.Errorf("more grants cut %+v", cut)
	}
	id := o.p.call("bank.balance", "x")
	f := o.server.called("balance")
	o.server.reply(f.ID, wire.OK, "again")
	o.p.want(id, wire.OK, "again")
	io.WriteString(o.connect(), "hello")
	wantBytes(t, o.in.accept(t), "hello")
	o.leave()
	<-o.inner.far
	o.p.mount(wire.Mount{Dir: o.dir})
}

// A policy that contradicts itself changes nothing.
func TestEnforceRefuses(t *testing.T) {
	o := open(t)
	bad := o.policy
	bad.Grants = append(slices.Clone(bad.Grants), Grant{From: "nobody", Kind: KindCall, To: "bank.balance"})
	if _, err := o.l.m.Enforce(bad); err == nil || !strings.Contains(err.Error(), `no service "nobody"`) {
		t.Errorf("Enforce = %v", err)
	}
	o.server.reply(1, wire.OK, "z")
	o.p.want(o.call, wire.OK, "z")
	io.WriteString(o.near, "x")
	wantBytes(t, o.far, "x")
}

// What a grant lets somebody do with it is part of it: a connection that was made with a
// privilege does not outlive that.
func TestEnforceCutsPrivileges(t *testing.T) {
	alice := label.MustParseFormula(`alice`)
	p := bank()
	p.Services[0].Flow = Flow{State: guard.State{Label: label.MustParse(`alice %% True`), Clearance: label.MustParse(`alice %% True`)}, Owns: alice}
	for i := range p.Grants {
		if p.Grants[i].From == "front" {
			switch p.Grants[i].To {
			case "bank:9000", "bank.balance":
				p.Grants[i].Out = alice
			}
		}
	}
	l := newLab(t, p)
	in := newInside(t)
	front := l.admit("front", "front-1")
	e, server := l.server("bank", "bank-1", "balance")
	e.Listening(in.dial)
	near := relayed(t, front, "bank", 9000)()
	far := in.accept(t)
	c := l.connect(front)
	id := c.call("bank.balance", "x")
	server.called("balance")
	less := p
	less.Grants = slices.Clone(p.Grants)
	for i := range less.Grants {
		less.Grants[i].Out = label.True
	}
	if cut := l.enforce(less); cut.Connections != 1 || cut.Calls != 1 {
		t.Errorf("cut %+v", cut)
	}
	wantEnd(t, near)
	wantEnd(t, far)
	c.want(id, wire.Canceled, "")
}

// A service or mailbox that has become another one is another one: nothing of the old one
// reaches the new one.
func TestEnforceRenews(t *testing.T) {
	o := open(t)
	l := o.l
	next := o.policy
	next.Services = slices.Clone(next.Services)
	i := slices.IndexFunc(next.Services, func(s Service) bool { return s.Name == "bank" })
	next.Services[i].Methods = append(slices.Clone(next.Services[i].Methods), Method{Name: "more"})
	o.p.want(o.p.start(wire.OpPost, 0, post("letters", "to the old one")), wire.OK, "")
	l.enforce(next)
	o.p.want(o.queued, wire.Canceled, "") // it has reached nobody
	o.server.reply(1, wire.OK, "old")
	o.p.want(o.call, wire.OK, "old")
	o.server.reply(2, wire.OK, "old")
	o.untouched.want(o.untouchedID, wire.OK, "old")
	id := o.untouched.call("bank.balance", "z")
	_, server := l.server("bank", "bank-2", "balance")
	f := server.called("balance")
	server.reply(f.ID, wire.OK, "new")
	o.untouched.want(id, wire.OK, "new")

	// Back to what it was: who was there is there again.
	l.m.Remove(l.m.envs["bank-2"])
	l.enforce(o.policy)
	id = o.untouched.call("bank.balance", "z")
	f = o.server.called("balance")
	o.server.reply(f.ID, wire.OK, "old again")
	o.untouched.want(id, wire.OK, "old again")
}

// A rate is kept over a change that is not its own: to change the policy does not give
// anybody a new burst.
func TestEnforceKeepsRates(t *testing.T) {
	p := bank()
	for i := range p.Grants {
		if p.Grants[i].Kind == KindEgress {
			p.Grants[i].Rates = Rates{Bytes: Rate{Amount: Unlimited}, Connections: Rate{Amount: 1, Per: time.Hour, Burst: 1}}
		}
	}
	l := newLab(t, p)
	newInternet(l, map[string]string{"public.example": "9.9.9.9"})
	front := l.admit("front", "front-1")
	first := tryEgress(l, front, "public.example:443")
	l.enforce(only(p, func(g Grant) bool { return g.To != "bank.look" }))
	if second := tryEgress(l, front, "public.example:443"); first != "at 9.9.9.9:443" || second != "closed" {
		t.Errorf("first %q, then %q", first, second)
	}
}

// agrees tells whether what every environment may do is what a fresh monitor with p would
// let it, and whether anything is open that p forbids.
func (l *lab) agrees(p Policy) error {
	table, err := p.compile()
	if err != nil {
		return err
	}
	l.m.mu.Lock()
	envs := slices.Collect(maps.Values(l.m.envs))
	l.m.mu.Unlock()
	all := bank().Grants
	for _, e := range envs {
		for _, g := range all {
			for _, o := range []op{opCall, opSpawn, opConnect, opMount, opUnmount, opEgress, opPost, opPut, opTake} {
				bound := len(e.id.Bound) > 0
				got, want := e.rights.Load().grants.decide(o, g.To, bound), table.of(e.id.Service).decide(o, g.To, bound)
				if got != want {
					return fmt.Errorf("%s %s %s: %+v, a fresh monitor says %+v", e.id.Instance, o.name, g.To, got, want)
				}
			}
		}
		e.mu.Lock()
		conns, relays := slices.Collect(maps.Keys(e.conns)), slices.Collect(maps.Keys(e.relays))
		children := slices.Collect(maps.Keys(e.children))
		e.mu.Unlock()
		may := func(u use) bool {
			return u.has == nil || u.op == opRecv || table.of(e.id.Service).decide(u.op, u.object, len(e.id.Bound) > 0).Allowed
		}
		for _, c := range conns {
			c.mu.Lock()
			for _, r := range c.asked {
				var u use
				switch r := r.(type) {
				case *call:
					u = use{opCall, r.method.of.Name + "." + r.method.Name, r.has}
				case *wait:
					u = r.use
				}
				if !may(u) {
					err = fmt.Errorf("%s has an open %s of %s", e.id.Instance, u.op.name, u.object)
				}
			}
			c.mu.Unlock()
		}
		for _, l := range relays {
			r, ok := l.(*relay)
			if !ok {
				continue
			}
			r.mu.Lock()
			if !r.closed && !may(r.use) {
				err = fmt.Errorf("%s has an open %s of %s", e.id.Instance, r.use.op.name, r.use.object)
			}
			r.mu.Unlock()
		}
		for _, r := range children {
			if !may(r.use) && !r.isLeft() {
				err = fmt.Errorf("%s has a child %s", e.id.Instance, r.use.object)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *result) isLeft() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left || r.known
}

// TestEnforceUnderLoad changes the policy at random while environments do all that they
// may. After each change nothing that it forbids stays open, every decision is that of a fresh
// monitor, and at the end all books are empty.
func TestEnforceUnderLoad(t *testing.T) {
	p, dirs := shared(t)
	makeDirs(t, dirs["theories"], "a")
	l := newLab(t, p)
	newInternet(l, map[string]string{"public.example": "9.9.9.9"})
	in := newInside(t)
	go func() {
		for {
			c, err := in.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(io.Discard, c)
				c.Close()
			}()
		}
	}()
	e, server := l.server("bank", "bank-1", "balance", "look")
	e.Listening(in.dial)
	go func() {
		for n := 0; ; n++ {
			server.nc.SetReadDeadline(time.Time{})
			f, err := server.r.Next()
			if err != nil {
				return
			}
			if f.Op == wire.OpCall && n%3 != 0 { // the others stay in flight
				server.nc.Write(wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: f.ID}, Body: f.Body}))
			}
		}
	}()
	over := make(chan struct{})
	defer close(over) // not asked: somebody may still ask, of whom a reader was slow to hear
	go func() {
		for {
			select {
			case r := <-l.spawner.asked:
				if rand.IntN(2) == 0 {
					r.end <- ending{exit: wire.Exit{Cause: "exit"}}
				}
			case <-over:
				return
			}
		}
	}()
	stop := make(chan struct{})
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	var actors sync.WaitGroup
	var fronts []*Env
	for i := range 3 {
		front := l.admit("front", fmt.Sprintf("front-%d", i))
		front.Mounting(&fakeMounter{at: make(map[string]uint64), t: t})
		fronts = append(fronts, front)
		dial := relayed(t, front, "bank", 9000)
		actors.Go(func() {
			for !stopped() {
				c := l.connect(front)
				done := make(chan struct{})
				asked := 0
				var got sync.WaitGroup
				got.Go(func() {
					defer close(done)
					for {
						c.nc.SetReadDeadline(time.Now().Add(patience))
						if _, err := c.r.Next(); err != nil {
							return
						}
					}
				})
				for range 40 {
					asked++
					switch rand.IntN(6) {
					case 0, 1:
						c.ask(wire.OpCall, "bank.balance", time.Hour, []byte("x"))
					case 2:
						c.ask(wire.OpCall, []string{"bank.look", "script.run"}[rand.IntN(2)], time.Hour, []byte("x"))
					case 3:
						c.start(wire.OpTake, time.Hour, named("jobs"))
					case 4:
						c.ask(wire.OpSpawn, "sandbox", 0, nil)
					case 5:
						c.ask(wire.OpMount, "", 0, (&wire.Mount{Dir: "/srv/theories/a"}).Append(nil))
					}
				}
				time.Sleep(rand.N(3 * time.Millisecond))
				c.nc.Close()
				<-done
			}
		})
		actors.Go(func() {
			for !stopped() {
				c := dial()
				io.WriteString(c, "hello")
				time.Sleep(rand.N(2 * time.Millisecond))
				c.Close()
			}
		})
	}
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	var last Policy
	for range rounds {
		seed := rand.Uint64()
		last = only(p, func(g Grant) bool {
			return rand.New(rand.NewPCG(seed, uint64(len(g.To))*31+uint64(g.To[0]))).IntN(2) == 0
		})
		l.enforce(last)
		now := last
		eventually(t, "nothing is open that is forbidden", func() bool {
			err := l.agrees(now)
			if err != nil && strings.Contains(err.Error(), "a fresh monitor") {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	close(stop)
	actors.Wait()
	l.enforce(only(p, func(Grant) bool { return false }))
	if err := l.agrees(only(p, func(Grant) bool { return false })); err != nil && !strings.Contains(err.Error(), "a child") {
		t.Error(err) // nobody begins anything any more: at once, but for children, which take their time to end
	}
	l.booksAreEmpty()
	for _, e := range fronts {
		eventually(t, "no reference to a directory is left", func() bool { return e.holdsReferences() == 0 })
		eventually(t, "no relay is left", func() bool { return relaysOf(e) == 0 })
	}
}
