package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/monitor"
	"cofferdam/sdk"
	"cofferdam/supervisor"
	"cofferdam/wire"
)

// warmEach is each with much to ask for, and without its volume.
func warmEach(more string) string {
	return `
  each: {{program}eager], instances: per-principal, label: 'True %% {principal}', owns: '{principal}', stop_grace_period: 100ms,
    tcp: 7000, uses: [{call: post.who, in: '{principal}'}, {connect: 'post:7000', in: '{principal}'}],
    provides: [{call: who, from: [front]}, {call: die, from: []}, {call: once, from: []}], ` + more + `}
  front: {{program}serve], instances: per-principal, label: 'True %% {principal}', owns: '{principal}', uses: [{call: each.who}], provides: [{call: who, from: []}, {call: die, from: []}, {call: once, from: []}]}
  post: {{program}eager], tcp: 7000, provides: [{call: who}, {call: die, from: []}, {call: once, from: []}]}
`
}

// eager tries what it may and what it may not, and listens.
func eager(ctx context.Context) {
	go func() {
		if l, err := net.Listen("tcp", "127.0.0.1:7000"); err == nil {
			for {
				if c, err := l.Accept(); err == nil {
					c.Close()
				}
			}
		}
	}()
	for range 300 { // as many as there is room for in the kernel's queue
		go net.Dial("tcp", "post:7000")
	}
	for _, method := range []string{"post.who", "post.die", "front.who"} {
		go func() {
			if c, err := sdk.Connect(ctx); err == nil {
				c.Call(ctx, method, nil)
			}
		}()
	}
}

// spares are the instances of a service that are nobody's yet.
func (a *app) spares(service string) (all []string) {
	for _, s := range a.sup.Status() {
		if s.Service == service && s.State == supervisor.Warm {
			all = append(all, s.Instance)
		}
	}
	slices.Sort(all)
	return all
}

func (a *app) warm(service string, n int) []string {
	a.t.Helper()
	a.eventually(fmt.Sprintf("%d spares", n), func() bool { return len(a.spares(service)) == n })
	return a.spares(service)
}

// recorded are the lines of the log with all of that.
func (a *app) recorded(parts ...string) (all []string) {
	a.t.Helper()
lines:
	for line := range strings.Lines(a.audit()) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue lines
			}
		}
		all = append(all, strings.TrimSpace(line))
	}
	return all
}

// TestWarmPool: who comes gets an instance that was there already, and it is that one's from
// then on and nobody else's ever; another one takes its place among the spares.
func TestWarmPool(t *testing.T) {
	a := start(t, warmEach("warm: 2, idle: 200ms"))
	before := a.warm("each", 2)
	a.mustUse("alice")()
	alice := a.of("alice")
	if !slices.Contains(before, alice.Instance) {
		t.Errorf("alice's is %s, not one of %v", alice.Instance, before)
	}
	a.eventually("another spare", func() bool {
		now := a.spares("each")
		return len(now) == 2 && !slices.Contains(now, alice.Instance)
	})
	seen := map[string]string{alice.Instance: "alice"}
	for _, who := range []string{"bob", "carol", "alice", "dave"} {
		a.eventually("what there was has ended", func() bool { return len(a.running()) == 2 && len(a.spares("each")) == 2 })
		a.mustUse(who)()
		in := a.of(who).Instance
		if by := seen[in]; by != "" {
			t.Errorf("%s was %s's and is %s's", in, by, who)
		}
		seen[in] = who
	}
	for in, who := range seen {
		a.eventually("it is recorded", func() bool { return len(a.recorded(`"instance":"`+in+`"`, `"op":"claim"`)) > 0 })
		if got := a.recorded(`"instance":"`+in+`"`, `"op":"claim"`); len(got) != 1 || !strings.Contains(got[0], fmt.Sprintf(`principal \"%s\"`, who)) || !strings.Contains(got[0], fmt.Sprintf(`"subject":"True %%%% \"%s\""`, who)) {
			t.Errorf("of %s, which was %s's, is recorded %q", in, who, got)
		}
	}
}

// TestSpareHoldsNothing: what a spare asks for before it is anybody's waits, whatever it
// is, and is decided on as whoever it has become; until then the monitor has not
// heard of it.
func TestSpareHoldsNothing(t *testing.T) {
	plain := strings.NewReplacer("label: 'True %% {principal}', owns: '{principal}',", "", ", in: '{principal}'", "")
	a := start(t, plain.Replace(warmEach("warm: 1")))
	spare := a.warm("each", 1)[0]
	// It has connected to the monitor and to a port, and asked for what it may not have.
	time.Sleep(200 * time.Millisecond)
	if got := a.recorded(`"instance":"` + spare + `"`); len(got) != 1 || !strings.Contains(got[0], `"op":"start"`) || strings.Contains(got[0], "principal") {
		t.Errorf("before it is claimed there is recorded %q", got)
	}
	answers := make(chan string, 1)
	go func() { answers <- a.exec(spare, "ask", "post.who", "x") }()
	time.Sleep(200 * time.Millisecond)
	select {
	case got := <-answers:
		t.Errorf("a spare is answered %q", got)
	default:
	}
	if got := a.recorded(`"instance":"`+spare+`"`, `"kind":"decision"`); len(got) != 0 {
		t.Errorf("before it is claimed something was decided: %q", got)
	}
	release, err := a.sup.Instance(t.Context(), "each", monitor.Key{Principal: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if got := <-answers; got != "answer: each" {
		t.Errorf("once it is alice's, it is answered %q", got)
	}
	for _, want := range [][]string{
		{`"op":"claim"`}, {`"op":"call"`, `"object":"post.who"`, `"verdict":"allow"`}, {`"op":"call"`, `"object":"post.die"`, `"verdict":"deny"`}, {`"op":"connect"`, `"object":"post:7000"`, `"verdict":"allow"`},
	} {
		a.eventually(fmt.Sprint(want), func() bool { return len(a.recorded(append(want, `"instance":"`+spare+`"`)...)) > 0 })
	}
	all := a.recorded(`"instance":"` + spare + `"`)
	has := func(what string) func(string) bool {
		return func(line string) bool { return strings.Contains(line, what) }
	}
	if claimed, decided := slices.IndexFunc(all, has(`"op":"claim"`)), slices.IndexFunc(all, has(`"kind":"decision"`)); claimed < 0 || decided < claimed {
		t.Errorf("it was claimed as record %d, and record %d is the first decision: %q", claimed, decided, all)
	}
	if got := a.exec(a.of("alice").Instance, "ask", "post.die", "x"); !strings.Contains(got, "denied") {
		t.Errorf("what it may not: %q", got)
	}
}

// TestSparesGiveWay: nobody waits for what spares have of the budget, or of the places,
// and when there is room again they come back.
func TestSparesGiveWay(t *testing.T) {
	a := start(t, warmEach("warm: 2, max_instances: 3, idle: 300ms")+`
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: count}]}
  count: {{program}count], template: true, instances: per-principal,
    volumes: [{name: 'state-{principal}', to: /data, size: 1M}], limits: {wall: 10s}}
budget: {instances: 5, memory: unlimited, pids: unlimited}
`)
	a.warm("each", 2) // beside post and host there is room for one more
	began := time.Now()
	var all sync.WaitGroup
	for i := range 4 { // at most three at a time
		all.Go(func() {
			if got := a.exec("host", "spawn", "count", fmt.Sprint("x", i)); !strings.HasPrefix(got, "1 for x") {
				t.Errorf("the template: %q", got)
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	a.warm("each", 2)
	var releases []func()
	for _, who := range []string{"alice", "bob", "carol"} {
		releases = append(releases, a.mustUse(who))
	}
	if got := a.spares("each"); len(got) != 0 {
		t.Errorf("with all places taken there are spares: %v", got)
	}
	for _, release := range releases {
		release()
	}
	a.warm("each", 2)
}

// TestSparesThatEnd: spares that die, never listen, or are not well, are replaced, later and
// later, and nobody who asks is harmed by them.
func TestSparesThatEnd(t *testing.T) {
	const often = "restart: {intensity: 100, period: 1m, backoff: 100ms, backoff_max: 400ms}"
	for name, service := range map[string]string{
		"dies":     `{{program}exit, "3"], tcp: 7000, instances: per-principal, warm: 2, ` + often + `}`,
		"not well": `{{program}eager], tcp: 7000, instances: per-principal, warm: 2, healthcheck: {exec: [/bin/false], interval: 10ms, start_interval: 10ms, retries: 1}, ` + often + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, "\n  each: "+service+"\n")
			time.Sleep(1500 * time.Millisecond)
			n := len(a.recorded(`"op":"start"`, `"kind":"start"`))
			if n < 2 || n > 40 { // of 150 without a pause
				t.Errorf("%d spares were started in a second and a half", n)
			}
			if got := a.recorded(`"op":"claim"`); len(got) != 0 {
				t.Errorf("claimed: %q", got)
			}
		})
	}
	// One that is killed when it is ready is no loss.
	a := start(t, warmEach("warm: 1, restart: {intensity: 5, period: 1m, backoff: 1ms, backoff_max: 1ms}"))
	for range 4 {
		spare := a.warm("each", 1)[0]
		a.kill(spare)
		release, err := a.use("alice", 20*time.Second)
		if err != nil {
			t.Fatalf("while a spare dies: %v", err)
		}
		release()
		in := a.of("alice")
		syscall.Kill(in.Pid, syscall.SIGKILL)
		a.eventually("it is gone", func() bool { return a.of("alice").Instance != in.Instance })
	}
	if s := a.of("alice"); s.State == supervisor.Broken {
		t.Errorf("that spares die is held against alice: %+v", s)
	}
}

// TestStandby: the one that stands by takes over when the other ends, whoever ends it, and never
// before; it answers nobody until then.
func TestStandby(t *testing.T) {
	a := start(t, `
  bank: {{program}serve], warm: 1, restart: {intensity: 1000, period: 1m}, provides: [{call: who}, {call: die, from: [front]}, {call: once, from: []}]}
  front: {{program}serve], uses: [{call: bank.who}, {call: bank.die}], provides: [{call: who, from: []}, {call: die, from: []}, {call: once, from: []}]}
`)
	for i := range 10 {
		next := a.warm("bank", 1)[0]
		now := a.status("bank")
		if now.Instance == next || now.State != supervisor.Ready {
			t.Fatalf("it is %+v, and by stands %s", now, next)
		}
		if got := a.exec("front", "ask", "bank.who", "x"); got != "answer: front" {
			t.Fatalf("call: %q", got)
		}
		if got := a.recorded(`"instance":"`+next+`"`, `"kind":"decision"`); len(got) != 0 {
			t.Errorf("the one that stands by has asked for something: %q", got)
		}
		if i%2 == 0 {
			syscall.Kill(now.Pid, syscall.SIGKILL)
		} else {
			a.exec("front", "ask", "bank.die", "x")
		}
		a.eventually("the other has taken over", func() bool { return a.status("bank").Instance == next })
		if got := a.exec("front", "ask", "bank.who", "x"); got != "answer: front" {
			t.Errorf("call after that: %q", got)
		}
	}
	if got := a.recorded(`"op":"claim"`, `"subject":"bank"`); len(got) != 10 {
		t.Errorf("%d took over", len(got))
	}
	a.sup.Stop()
	err := <-a.ended
	a.ended <- err
	if err != nil {
		t.Error(err)
	}
	for _, s := range a.sup.Status() {
		if s.Instance != "" {
			t.Errorf("left: %+v", s)
		}
	}
}

// TestStandbyThatDies: it is replaced, and does no harm.
func TestStandbyThatDies(t *testing.T) {
	a := start(t, `
  bank: {{program}serve], warm: 1, restart: {backoff: 20ms}, provides: [{call: who}, {call: die, from: []}, {call: once, from: []}]}
`)
	first := a.status("bank").Instance
	for range 5 {
		spare := a.warm("bank", 1)[0]
		a.kill(spare)
		a.eventually("it is gone", func() bool { return !slices.Contains(a.spares("bank"), spare) })
	}
	a.warm("bank", 1)
	if s := a.status("bank"); s.Instance != first || s.Restarts != 0 || s.State != supervisor.Ready {
		t.Errorf("the bank is %+v and was %s", s, first)
	}
}

// TestWarmPoolStops: nothing of it is left.
func TestWarmPoolStops(t *testing.T) {
	a := start(t, warmEach("warm: 4"))
	a.mustUse("alice")
	a.sup.Stop()
	err := <-a.ended
	a.ended <- err
	if err != nil {
		t.Error(err)
	}
	for _, s := range a.sup.Status() {
		if s.Instance != "" {
			t.Errorf("left: %+v", s)
		}
	}
	if _, err := a.use("bob", time.Second); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("afterwards: %v", err)
	}
}

// TestRestartWithSpares: what the operator has started anew is that, and not what was ready
// before.
func TestRestartWithSpares(t *testing.T) {
	a := start(t, `
  bank: {{program}serve], warm: 1, stop_grace_period: 100ms, provides: [{call: who}, {call: die, from: []}, {call: once, from: []}]}
`+warmEach("warm: 2"))
	say := func(string) {}
	old, spare, spares := a.status("bank").Instance, a.warm("bank", 1)[0], a.warm("each", 2)
	if err := a.sup.Restart(t.Context(), []string{"bank", "each"}, 0, 0, say); err != nil {
		t.Fatal(err)
	}
	a.eventually("it is another one, and so are the spares", func() bool {
		now := a.status("bank")
		by, each := a.spares("bank"), a.spares("each")
		return now.State == supervisor.Ready && now.Instance != old && now.Instance != spare && len(by) == 1 && by[0] != spare &&
			len(each) == 2 && !slices.Contains(each, spares[0]) && !slices.Contains(each, spares[1])
	})
	if err := a.sup.Halt(t.Context(), []string{"bank", "each"}, 0, say); err != nil {
		t.Fatal(err)
	}
	a.eventually("nothing is left", func() bool {
		for _, s := range a.sup.Status() {
			if (s.Service == "bank" || s.Service == "each") && s.Instance != "" {
				return false
			}
		}
		return true
	})
	if err := a.sup.Resume(t.Context(), []string{"bank", "each"}, 0, 0, say); err != nil {
		t.Fatal(err)
	}
	a.warm("bank", 1)
	a.warm("each", 2)
}

// TestThousandsOfPrincipals: who has instances started for any number of names gets as many
// at a time as there may be, the rest is turned away or waits in bounded queues, and
// who has an instance keeps being answered.
func TestThousandsOfPrincipals(t *testing.T) {
	a := start(t, warmEach("warm: 2, max_instances: 4, idle: 200ms"))
	a.warm("each", 2)
	defer a.mustUse("alice")()
	most := 0
	watch, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watch)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			n := 0
			for _, s := range a.sup.Status() {
				if s.Service == "each" && s.Instance != "" {
					n++
				}
			}
			most = max(most, n)
		}
	}()
	var all sync.WaitGroup
	var mu sync.Mutex
	count := make(map[string]int)
	for i := range 3000 {
		all.Go(func() {
			release, err := a.use(fmt.Sprint("flood", i), 3*time.Second)
			what := "served"
			switch {
			case err == nil:
				release()
			case errors.Is(err, wire.ErrBusy):
				what = "busy"
			case errors.Is(err, context.DeadlineExceeded):
				what = "late"
			default:
				what = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			count[what]++
		})
	}
	for range 20 {
		a.mustUse("alice")()
	}
	all.Wait()
	close(stop)
	<-watch
	if count["served"]+count["busy"]+count["late"] != 3000 || count["served"] == 0 || count["busy"] == 0 {
		t.Errorf("of 3000: %v", count)
	}
	if most > 4 {
		t.Errorf("%d instances ran at a time, of which there may be 4", most)
	}
	a.eventually("spares are back", func() bool { return len(a.spares("each")) > 0 })
}

// kill kills the init of an instance, if it is still there.
func (a *app) kill(instance string) {
	for _, s := range a.sup.Status() {
		if s.Instance == instance && s.Pid > 0 {
			syscall.Kill(s.Pid, syscall.SIGKILL)
		}
	}
}

// TestSpareThatEndsAsItIsTaken: one that is killed while somebody takes it ends once, whoever of
// both was first, and who has come is served.
func TestSpareThatEndsAsItIsTaken(t *testing.T) {
	a := start(t, warmEach("warm: 1, idle: 100ms, restart: {intensity: 1000, period: 1m, backoff: 1ms, backoff_max: 1ms}"))
	for n := range 40 {
		spare := a.warm("each", 1)[0]
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			a.kill(spare)
		}()
		time.Sleep(time.Duration(n) * 100 * time.Microsecond)
		a.mustUse(fmt.Sprintf("somebody%d", n))()
		<-killed
	}
	a.eventually("what was used has ended", func() bool { return len(a.running()) == 1 })
	ends := make(map[string]int)
	for _, r := range a.records() {
		if r.Kind == audit.KindExit {
			ends[r.Instance]++
		}
	}
	for in, n := range ends {
		if n != 1 {
			t.Errorf("%s has ended %d times: %q", in, n, a.recorded(`"instance":"`+in+`"`))
		}
	}
}
