package supervisor

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cofferdam/label"
	"cofferdam/manifest"
	"cofferdam/wire"
)

func parsed(t *testing.T, text string) *manifest.App {
	t.Helper()
	app, err := manifest.Parse("m.yaml", []byte("version: 1\nname: a\n"+text), t.TempDir(), manifest.HostPath)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

func TestBudgetOf(t *testing.T) {
	const services = `
services:
  one: {runtime: host, command: [/bin/true], limits: {memory: 100M, pids: 10}}
  two: {runtime: host, command: [/bin/true], limits: {memory: unlimited, pids: 20}}
  small: {runtime: host, command: [/bin/true], template: true, limits: {memory: 10M, pids: 50}}
  large: {runtime: host, command: [/bin/true], stdio: lines, provides: [{call: c}], limits: {memory: 60M, pids: 5}}
`
	host := Budget{MemoryBytes: 8 << 30, Pids: 32768}
	for _, tt := range []struct {
		name, budget string
		host         Budget
		want         Budget
		refused      string
	}{
		{"an eighth of the host", "", host, Budget{1 << 30, 4096, 256}, ""},
		{"what is needed", "", Budget{MemoryBytes: 1 << 30, Pids: 400}, Budget{170 << 20, 85, 256}, ""},
		{"what is written", "budget: {memory: 160M, pids: 80, instances: 3}", host, Budget{160 << 20, 80, 3}, ""},
		{"no limit, in writing", "budget: {memory: unlimited, pids: unlimited, instances: unlimited}", host, Budget{-1, -1, -1}, ""},
		{"too little memory", "budget: {memory: 159M}", host, Budget{}, "m.yaml:3:9 budget.memory: 159M can never be enough: services that start together need 100M (memory: one 100M, two 0B), the largest that is started on demand 60M; write at least 160M, or lower their limits"},
		{"too few processes", "budget: {pids: 79}", host, Budget{}, "budget.pids: 79 can never be enough"},
		{"too few instances", "budget: {instances: 2}", host, Budget{}, "budget.instances: 2 can never be enough"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := BudgetOf(parsed(t, tt.budget+services), tt.host)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("BudgetOf = %v, want %q", err, tt.refused)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("BudgetOf = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func service(memory int64) *manifest.Service {
	return &manifest.Service{Name: "s", Limits: manifest.Limits{Memory: memory, Pids: 1}}
}

// Who comes first begins first, however small those behind are.
func TestAdmissionIsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Budget{MemoryBytes: 10, Pids: -1, Instances: -1})
		ctx := context.Background()
		if err := a.acquire(ctx, service(6), "", label.Public); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int64
		for _, memory := range []int64{8, 1, 2} {
			go func() {
				if err := a.acquire(ctx, service(memory), "", label.Public); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, memory)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		if len(order) != 0 {
			t.Errorf("%v began beside one that leaves them no room, or before their turn", order)
		}
		if st := a.status(); len(st) != 3 || st[1].State != Queued || st[1].Detail != "number 2 of 3 in the queue for the budget" {
			t.Errorf("status %+v", st)
		}
		a.release(service(6))
		synctest.Wait()
		if len(order) != 2 {
			t.Errorf("%v began, want 8 and 1", order)
		}
		a.release(service(8))
		synctest.Wait()
		if len(order) != 3 {
			t.Errorf("%v began, want all", order)
		}
	})
}

// A deadline ends the waiting, and lets those behind go on.
func TestAdmissionEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Budget{MemoryBytes: 10, Pids: -1, Instances: -1})
		if err := a.acquire(context.Background(), service(6), "", label.Public); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		large, small := make(chan error, 1), make(chan error, 1)
		go func() { large <- a.acquire(ctx, service(8), "", label.Public) }()
		synctest.Wait()
		go func() { small <- a.acquire(context.Background(), service(2), "", label.Public) }()
		synctest.Wait()
		if err := <-large; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the large one: %v", err)
		}
		if err := <-small; err != nil {
			t.Errorf("the small one: %v", err)
		}
		if a.used.memory != 8 || a.queue.count() != 0 {
			t.Errorf("used %+v with %d in the queue", a.used, a.queue.count())
		}
	})
}

// A queue that is full says so at once.
func TestAdmissionQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Budget{MemoryBytes: -1, Pids: -1, Instances: 1})
		ctx, cancel := context.WithCancel(context.Background())
		if err := a.acquire(ctx, service(1), "", label.Public); err != nil {
			t.Fatal(err)
		}
		for range maxQueuedEach {
			go a.acquire(ctx, service(1), "", label.Public)
		}
		synctest.Wait()
		if err := a.acquire(ctx, service(1), "", label.Public); !errors.Is(err, wire.ErrBusy) {
			t.Errorf("one more than %d: %v, want busy", maxQueuedEach, err)
		}
		cancel()
		synctest.Wait()
		if a.queue.count() != 0 || a.used.instances != 1 {
			t.Errorf("%d in the queue, used %+v", a.queue.count(), a.used)
		}
	})
}

// Whatever comes, goes and gives up: never more than the budget, and in the end
// nothing is used.
func TestAdmissionNeverGivesMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Budget{MemoryBytes: 100, Pids: 20, Instances: 7})
		var all sync.WaitGroup
		for range 100 {
			svc := service(1 + rand.Int64N(100))
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), rand.N(100*time.Millisecond))
				defer cancel()
				if a.acquire(ctx, svc, "", label.Public) != nil {
					return
				}
				a.mu.Lock()
				if !a.budget.holds(a.used) {
					t.Errorf("used %+v of %+v", a.used, a.budget)
				}
				a.mu.Unlock()
				time.Sleep(rand.N(20 * time.Millisecond))
				a.release(svc)
			})
		}
		all.Wait()
		if a.used != (cost{}) || a.queue.count() != 0 {
			t.Errorf("at the end: used %+v, %d in the queue", a.used, a.queue.count())
		}
	})
}

// Who floods the queue waits behind himself: somebody else's turn comes with the next end.
func TestAdmissionIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Budget{MemoryBytes: -1, Pids: -1, Instances: 2})
		ctx, cancel := context.WithCancel(context.Background())
		var mu sync.Mutex
		var order []string
		wait := func(who string) {
			go func() {
				err := a.acquire(ctx, service(1), who, label.Public)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					order = append(order, who)
				}
			}()
			synctest.Wait()
		}
		for range 2 * maxQueuedEach {
			wait("greedy")
		}
		for _, who := range []string{"alice", "bob", "alice"} {
			wait(who)
		}
		for i := range 3 * maxQueued { // each another one
			wait(strconv.Itoa(i))
		}
		if n := a.queue.count(); n > maxQueued {
			t.Errorf("%d wait", n)
		}
		for range 6 {
			a.release(service(1))
			synctest.Wait()
		}
		if got := strings.Join(order, " "); got != "greedy greedy greedy alice bob 0 1 2" {
			t.Errorf("they began in the order %s", got)
		}
		cancel()
		synctest.Wait()
		if a.queue.count() != 0 {
			t.Errorf("%d wait after all have gone", a.queue.count())
		}
	})
}

// That somebody is turned away is said once, and then how often.
func TestSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s seldom
		var said []string
		turnedAway := func() { s.say(func(more string) { said = append(said, more) }) }
		for range 1000 {
			turnedAway()
		}
		time.Sleep(sayEvery + time.Second)
		turnedAway()
		time.Sleep(3 * sayEvery)
		synctest.Wait()
		want := []string{"; how often is said at most once in 1m0s", "; 999 more in the last 1m0s", "; 1 more in the last 1m0s"}
		if !slices.Equal(said, want) {
			t.Errorf("said %q, want %q", said, want)
		}
		turnedAway()
		if len(said) != 4 {
			t.Errorf("after a while without any, %d times", len(said))
		}
	})
}
