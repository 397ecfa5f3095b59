package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/monitor"
	"cofferdam/supervisor"
	"cofferdam/wire"
)

// each is a service with an instance for each principal, and more keys for it.
func each(more string) string {
	return `
  each: {{program}serve], instances: per-principal, label: 'True %% {principal}', owns: '{principal}', stop_grace_period: 100ms,
    volumes: [{name: 'of-{principal}', to: /data, size: 1M}],
    provides: [{call: who, from: []}, {call: die, from: []}, {call: once, from: []}], ` + more + `}
`
}

// keyOf is the key of each for somebody.
func keyOf(principal string) monitor.Key {
	who, err := label.NewFormula([]string{principal})
	if err != nil {
		panic(err)
	}
	l := label.New(label.True, who)
	return monitor.Key{Principal: principal, Flow: monitor.Flow{State: guard.State{Label: l, Clearance: l}, Owns: who}}
}

// use waits for an instance, and for at most so long.
func (a *app) use(principal string, patience time.Duration) (func(), error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return a.sup.Instance(ctx, "each", keyOf(principal))
}

func (a *app) mustUse(principal string) func() {
	a.t.Helper()
	release, err := a.use(principal, 20*time.Second)
	if err != nil {
		a.t.Fatalf("an instance for %s: %v\n%s", principal, err, a.output())
	}
	return release
}

// of is the status of the one instance that runs for somebody.
func (a *app) of(principal string) (found supervisor.Status) {
	a.t.Helper()
	for _, s := range a.sup.Status() {
		if s.Service == "each" && s.Principal == principal {
			if found.Service != "" {
				a.t.Errorf("two for %s: %+v, %+v", principal, found, s)
			}
			found = s
		}
	}
	return found
}

// running are the principals that have an instance.
func (a *app) running() (all []string) {
	for _, s := range a.sup.Status() {
		if s.Service == "each" && s.Instance != "" {
			all = append(all, s.Principal)
		}
	}
	slices.Sort(all)
	return all
}

func (a *app) eventually(what string, is func() bool) {
	a.t.Helper()
	for end := time.Now().Add(15 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			a.t.Fatalf("never: %s; %+v\n%s", what, a.sup.Status(), a.output())
		}
	}
}

func TestInstancePerPrincipal(t *testing.T) {
	a := start(t, each(""))
	if got := a.running(); len(got) != 0 {
		t.Errorf("before anybody asks there run %v", got)
	}
	var all sync.WaitGroup
	for range 8 {
		for _, who := range []string{"alice", "bob", "../alice"} {
			all.Go(func() {
				release, err := a.use(who, 20*time.Second)
				if err != nil {
					t.Errorf("for %s: %v", who, err)
					return
				}
				release()
				release() // once is enough
			})
		}
	}
	all.Wait()
	if got, want := a.running(), []string{"../alice", "alice", "bob"}; !slices.Equal(got, want) {
		t.Errorf("there run %v, want %v", got, want)
	}
	alice := a.of("alice")
	if alice.State != supervisor.Ready || alice.Pid == 0 || alice.Instance == a.of("bob").Instance {
		t.Errorf("alice's: %+v, bob's: %+v", alice, a.of("bob"))
	}
	a.mustUse("alice")()
	if again := a.of("alice"); again.Instance != alice.Instance {
		t.Errorf("a second instance for alice: %+v, then %+v", alice, again)
	}
	for _, part := range []string{`"principal \"alice\"`, `"labels":{"subject":"True %% \"alice\"","clearance":"True %% \"alice\""}`, ` owns \"alice\"`} {
		if log := a.audit(); !strings.Contains(log, strings.TrimPrefix(part, `"`)) {
			t.Errorf("the log does not have %s:\n%s", part, log)
		}
	}
	if _, err := a.sup.Instance(context.Background(), "absent", keyOf("alice")); err == nil {
		t.Error("an instance of what is not there")
	}
}

func TestIdleInstanceEnds(t *testing.T) {
	a := start(t, each("idle: 300ms"))
	release := a.mustUse("alice")
	a.mustUse("bob")()
	a.eventually("bob's ends", func() bool { return a.of("bob").Service == "" })
	if a.of("alice").State != supervisor.Ready {
		t.Errorf("alice's, which is used: %+v", a.of("alice"))
	}
	release()
	a.eventually("alice's ends", func() bool { return a.of("alice").Service == "" })
	a.mustUse("alice")()
	if log := a.audit(); strings.Contains(log, `"op":"restart"`) {
		t.Errorf("to end when idle is held against it:\n%s", log)
	}
}

// With all places taken the one that has been idle for longest ends for the next, and
// without an idle one who comes waits.
func TestPlacesAreBounded(t *testing.T) {
	a := start(t, each("max_instances: 2"))
	alice := a.mustUse("alice")
	a.mustUse("bob")()
	a.mustUse("carol")()
	if got, want := a.running(), []string{"alice", "carol"}; !slices.Equal(got, want) {
		t.Errorf("after a third there run %v, want %v", got, want)
	}
	carol := a.mustUse("carol")
	if _, err := a.use("dave", 100*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third while two are busy: %v", err)
	}
	a.mustUse("alice")() // who has one does not wait

	// First come, first served.
	served := make(chan string, 2)
	for i, who := range []string{"dave", "erin"} {
		go func() {
			release, err := a.use(who, 20*time.Second)
			if err != nil {
				served <- fmt.Sprint(who, err)
				return
			}
			served <- who
			release()
		}()
		a.eventually(who+" waits", func() bool {
			s := a.of(who)
			return s.State == supervisor.Queued && s.Detail == fmt.Sprintf("number %d of %d in the queue for one of 2 places", i+1, i+1)
		})
		if all := a.sup.Queued(); len(all) != i+1 || all[i].Principal != who {
			t.Errorf("%s waits, and those who wait are %+v", who, all)
		}
	}
	carol()
	if got := <-served; got != "dave" {
		t.Errorf("the first to be served is %s", got)
	}
	if got := <-served; got != "erin" {
		t.Errorf("the second to be served is %s", got)
	}
	alice()
}

// What ends again and again is broken for the one for whom it does, and for nobody else.
func TestOnePrincipalsCrashes(t *testing.T) {
	a := start(t, each("restart: {intensity: 2, period: 1m, backoff: 1ms, backoff_max: 2ms}"))
	a.mustUse("bob")()
	bob := a.of("bob")
	for i := range 3 {
		a.mustUse("alice")()
		s := a.of("alice")
		if s.Restarts != i {
			t.Errorf("restarts %d, want %d", s.Restarts, i)
		}
		if err := syscall.Kill(s.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		a.eventually("it is noticed", func() bool { return a.of("alice").Instance != s.Instance })
	}
	if _, err := a.use("alice", 20*time.Second); !errors.Is(err, wire.ErrBroken) {
		t.Errorf("a fourth: %v, want broken", err)
	}
	if s := a.of("alice"); s.State != supervisor.Broken || !strings.Contains(s.Detail, "ended 3 times") {
		t.Errorf("status: %+v", s)
	}
	a.mustUse("bob")()
	a.mustUse("carol")()
	if again := a.of("bob"); again.Instance != bob.Instance {
		t.Errorf("bob's was %s and is %s", bob.Instance, again.Instance)
	}
	if log := a.audit(); !strings.Contains(log, `principal \"alice\": ended 3 times`) {
		t.Errorf("the log does not say so:\n%s", log)
	}
}

// One that does not come to serve is tried again, and then broken too.
func TestInstanceThatNeverServes(t *testing.T) {
	a := start(t, `
  each: {{program}exit, "3"], instances: per-principal, restart: {intensity: 1, period: 1m, backoff: 1ms, backoff_max: 1ms}, provides: [{call: who, from: []}]}
`)
	if _, err := a.sup.Instance(context.Background(), "each", monitor.Key{Principal: "alice"}); !errors.Is(err, wire.ErrBroken) {
		t.Errorf("an instance that ends at once: %v, want broken", err)
	}
}

// Who waits for the budget does not wait for what nobody uses.
func TestIdleInstancesGiveWay(t *testing.T) {
	a := start(t, each("")+`
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: count}]}
  count: {{program}count], template: true, instances: per-principal,
    volumes: [{name: 'state-{principal}', to: /data, size: 1M}], limits: {wall: 10s}}
budget: {instances: 3, memory: unlimited, pids: unlimited}
`)
	alice := a.mustUse("alice")
	a.mustUse("bob")() // one too many for the template
	if got := a.exec("host", "spawn", "count", "x"); !strings.HasPrefix(got, "1 for x") {
		t.Errorf("the template: %q", got)
	}
	if got, want := a.running(), []string{"alice"}; !slices.Equal(got, want) {
		t.Errorf("there run %v, want %v", got, want)
	}
	// A further one has to wait as long as the budget is used.
	bob := a.mustUse("bob")
	if _, err := a.use("carol", 100*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beyond the budget: %v", err)
	}
	bob()
	a.mustUse("carol")()
	alice()
}

// Nothing of them is left when the application stops, whoever waits.
func TestPoolStops(t *testing.T) {
	a := start(t, each("max_instances: 1"))
	a.mustUse("alice")
	waits := make(chan error, 1)
	go func() {
		_, err := a.use("bob", 20*time.Second)
		waits <- err
	}()
	time.Sleep(20 * time.Millisecond)
	a.sup.Stop()
	err := <-a.ended
	a.ended <- err
	if err != nil {
		t.Error(err)
	}
	if err := <-waits; !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("who waited: %v", err)
	}
	if got := a.sup.Status(); len(got) != 0 {
		t.Errorf("left: %+v", got)
	}
	if _, err := a.use("alice", time.Second); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("who comes later: %v", err)
	}
}

// A call goes to the instance that runs for whom its caller does, across
// replacements, and to no other.
func TestCallsToInstancesOfPrincipals(t *testing.T) {
	a := start(t, `
  asker: {{program}deaf], instances: per-principal, stop_grace_period: 100ms, label: 'True %% {principal}', owns: '{principal}',
    uses: [{call: each.who}, {call: each.die}, {call: each.once}]}
  each: {{program}serve], instances: per-principal, stop_grace_period: 100ms, label: 'True %% {principal}', owns: '{principal}',
    volumes: [{name: 'of-{principal}', to: /data, size: 1M}], restart: {intensity: 100, backoff: 1ms},
    provides: [{call: who}, {call: die}, {call: once, idempotent: true}]}
`)
	asker := make(map[string]string)
	for _, who := range []string{"alice", "bob"} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if _, err := a.sup.Instance(ctx, "asker", keyOf(who)); err != nil {
			t.Fatal(err)
		}
		for _, s := range a.sup.Status() {
			if s.Service == "asker" && s.Principal == who {
				asker[who] = s.Instance
			}
		}
	}
	if got := a.exec(asker["alice"], "ask", "each.who", ""); got != "answer: asker" {
		t.Errorf("who: %q", got)
	}
	if got, want := a.running(), []string{"alice"}; !slices.Equal(got, want) {
		t.Errorf("there run %v, want %v", got, want)
	}
	a.exec(asker["bob"], "ask", "each.who", "")
	bob := a.of("bob").Instance
	for range 3 {
		if got := a.exec(asker["alice"], "ask", "each.die", ""); !strings.Contains(got, "interrupted") {
			t.Errorf("a call whose instance died: %q, want interrupted", got)
		}
		if got := a.exec(asker["alice"], "ask", "each.who", ""); got != "answer: asker" {
			t.Errorf("the call after it: %q", got)
		}
	}
	// What is idempotent is asked again, of another instance for the same principal.
	for _, who := range []string{"alice", "bob"} {
		got := a.exec(asker[who], "ask", "each.once", "")
		var first, second uint64
		if n, _ := fmt.Sscanf(got, "answer: call %d, again as %d", &first, &second); n != 2 || first != second {
			t.Errorf("an idempotent call of %s whose instance died: %q", who, got)
		}
	}
	if again := a.of("bob").Instance; again == bob {
		t.Error("bob's has died and is the same")
	}
}
