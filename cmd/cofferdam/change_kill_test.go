package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor/executortest/census"
)

// changesEnv is how often TestKilledInAChange kills.
const changesEnv = "COFFERDAM_TEST_CHANGES"

// changeManifest is one of an application that is changed: GRANT and VALUE are a grant more and what
// other is told.
const changeManifest = killManifest + `  front:
    runtime: host
    command: [sleep, infinity]
    stop_grace_period: 100ms
    files: [{from: caller, to: /app/caller}]
    uses: [{call: back.price}GRANT]
  back:
    command: [/app/answerer, price, secret]
    files: [{from: answerer, to: /app/answerer}]
    provides: [{call: price}, {call: secret}]
    stop_grace_period: 100ms
  other:
    runtime: host
    command: [sleep, infinity]
    environment: [VALUE]
    stop_grace_period: 100ms
`

// A change of an application that runs is cut short by a kill: nothing is left, the log holds, the
// next start works, and what it grants is what its manifest says and nothing of the change.
func TestKilledInAChange(t *testing.T) {
	kills, seed := howOften(t, changesEnv, 15, 5)
	if err := census.Adopt(); err != nil {
		t.Fatal(err)
	}
	v := newVictimOf(t, seed, changeManifest, "ledger", "answerer", "caller")
	file := filepath.Join(v.dir, "cofferdam.yaml")
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	values := 0
	write := func(granted bool) {
		t.Helper()
		grant := ""
		if granted {
			grant = ", {call: back.secret}"
		}
		values++
		text := strings.NewReplacer("GRANT", grant, "VALUE", fmt.Sprintf("VALUE=%d", values)).Replace(string(written))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	holds := func() bool {
		t.Helper()
		out, err := v.command("exec", "front", "--", "/app/caller", "back.price", "back.secret").CombinedOutput()
		text := string(out)
		if !strings.Contains(text, "back.price: hello from front") {
			t.Fatalf("front asks: %v\n%s", err, text)
		}
		return strings.Contains(text, "back.secret: hello from front")
	}

	write(false)
	v.start()
	v.awaitAnswer()
	v.end(syscall.SIGTERM)
	v.scope.Settle(v.before, time.Second)
	v.before = v.scope.Take()

	changes := []string{"up", "grant", "restart", "revoke", "up", "stop"}
	killed := []string{"the trusted process", "the trusted process", "the spawner", "both"}
	counts, torn, done := map[string]int{}, 0, map[string]int{}
	for n := range kills {
		change, who := changes[n%len(changes)], killed[v.random.IntN(len(killed))]
		granted := change == "revoke"
		write(granted)
		v.start()
		v.awaitAnswer()
		if got := holds(); got != granted {
			t.Fatalf("before kill %d: the secret is granted: %v, want %v", n, got, granted)
		}
		args := map[string][]string{
			"up": {"up"}, "restart": {"restart"}, "stop": {"stop", "other"}, "grant": {"grant", "front", "call", "back.secret"}, "revoke": {"revoke", "front", "call", "back.secret"},
		}[change]
		if change == "up" {
			write(true) // and other is another one
		}
		cmd := v.command(args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(v.random.IntN(80)) * time.Millisecond) // most take longer
		v.kill(who)
		counts[change+", "+who]++
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		v.awaitEnd()
		select {
		case err = <-ended:
			if err == nil {
				done[change]++
			}
		case <-time.After(10 * time.Second): // an up that came when nothing ran any more is the application
			cmd.Process.Signal(syscall.SIGTERM)
			if err := <-ended; change != "up" || err != nil {
				t.Fatalf("kill %d, of %s: %s does not end, or so: %v", n, who, change, err)
			}
		}
		if left := v.left(false, who); len(left) > 0 {
			t.Fatalf("kill %d, of %s in %s: left are\n  %s\n%s", n, who, change, strings.Join(left, "\n  "), v.stderr.String())
		}
		if v.logIsTorn() {
			torn++
		}

		// The manifest as it was, or as it was to be: that one holds, and nothing else.
		after := granted
		switch {
		case change == "up" && v.random.IntN(2) == 0:
			after = true
		case change == "up":
			write(false)
		}
		v.start()
		v.awaitAnswer()
		if got := holds(); got != after {
			t.Errorf("after kill %d, of %s in %s: the secret is granted: %v, want %v", n, who, change, got, after)
		}
		out, err := v.command("exec", "other", "--", "sh", "-c", "echo $VALUE").CombinedOutput()
		if want := fmt.Sprint(values); strings.TrimSpace(string(out)) != want {
			t.Errorf("after kill %d, of %s in %s: other has %q, %v, want %s", n, who, change, out, err, want)
		}
		v.end(syscall.SIGTERM)
		if left := v.left(true, who); len(left) > 0 {
			t.Fatalf("after kill %d: left are\n  %s\n%s", n, strings.Join(left, "\n  "), v.stderr.String())
		}
	}
	if v.logIsTorn() {
		t.Error("the log is torn")
	}
	t.Logf("%d kills %v; carried out before: %v; %d logs with a torn last line", kills, counts, done, torn)
}
