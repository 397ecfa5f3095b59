package supervisor_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func needsNode(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/usr/bin/node"); err != nil {
		t.Skip("needs node: ", err)
	}
}

// Interpreters that are executed ahead are each their own caller's, have what is that one's, and run what
// its service says with modules that were loaded before.
func TestAhead(t *testing.T) {
	needsNode(t)
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("needs python3: ", err)
	}
	a := start(t, `
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: word}, {spawn: snake}, {call: upper.shout}]}
  word: {runtime: host, command: [/usr/bin/node, -e, "const left = globalThis.left; globalThis.left = 1; console.log(process.uptime() > 0.25, left, process.argv.slice(1).join(), process.env.KEPT, require('fs').existsSync('/run/cofferdam/wire'), process.pid)", x],
    environment: {KEPT: kept}, template: true, limits: {wall: 20s}, warm: {by: exec, spares: 2, modules: ['node:http']}}
  snake: {runtime: host, command: [/usr/bin/python3, -I], template: true, limits: {wall: 20s}, warm: {by: exec, modules: [json]}}
  upper: {runtime: host, command: [/usr/bin/node, -e, "let t = ''; process.stdin.on('data', d => t += d).on('end', () => process.stdout.write(process.env.COFFERDAM_METHOD + ' from ' + process.env.COFFERDAM_CALLER + ': ' + t.toUpperCase()))"],
    stdio: lines, warm: exec, provides: [{call: shout}]}
`)
	waits := func(service string) {
		t.Helper()
		a.eventually("two interpreters of "+service+" wait", func() bool { return toldOf(a, service) == "2 interpreters wait" })
	}
	for _, service := range []string{"word", "snake", "upper"} {
		waits(service)
	}
	time.Sleep(300 * time.Millisecond)
	for i, who := range []string{"alice", "bob"} { // as many as have waited
		if got, want := a.exec("host", "spawn", "word", who, "of "+who), fmt.Sprintf("true undefined x,of %s kept true 2\nexit 0 <nil>", who); got != want {
			t.Errorf("%s: %q, want %q", who, got, want)
		}
		if got := a.exec("host", "spawn", "snake", who, "-c", "import sys; print('json' in sys.modules, sys.argv, __name__)", who); got != fmt.Sprintf("True ['-c', '%s'] __main__\nexit 0 <nil>", who) {
			t.Errorf("%s: %q", who, got)
		}
		text := fmt.Sprint("hello ", i)
		if got, want := a.exec("host", "ask", "upper.shout", text), "answer: shout from host: "+strings.ToUpper(text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	var all sync.WaitGroup
	for i := range 6 { // more than wait
		all.Go(func() {
			text := fmt.Sprint("at once ", i)
			if got, want := a.exec("host", "ask", "upper.shout", text), "answer: shout from host: "+strings.ToUpper(text); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	all.Wait()
}

// Nobody waits for what interpreters that wait have of the budget; when there is room again they come back.
func TestAheadGivesWay(t *testing.T) {
	needsNode(t)
	a := start(t, `
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: word}, {spawn: slow}]}
  word: {runtime: host, command: [/usr/bin/node, -e, "console.log(1)"], template: true, limits: {wall: 20s}, warm: {by: exec, spares: 3}}
  slow: {runtime: host, command: [/bin/sh, -c, "sleep 6; echo slept"], template: true, limits: {wall: 20s}}
budget: {instances: 4, memory: unlimited, pids: unlimited}
`)
	told := func(want string) {
		t.Helper()
		a.eventually("an operator is told: "+want, func() bool { return toldOf(a, "word") == want })
	}
	const room = "%d of 3 interpreters wait, for the budget has no room for more"
	told(fmt.Sprintf(room, 2)) // beside host and one more
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if got := a.exec("host", "spawn", "slow", "x"); got != "slept\nexit 0 <nil>" {
				t.Errorf("%q", got)
			}
		})
	}
	told(fmt.Sprintf(room, 0)) // for three run, and host
	if got := a.exec("host", "spawn", "word", "x"); got != "1\nexit 0 <nil>" {
		t.Errorf("%q", got)
	}
	all.Wait()
	told(fmt.Sprintf(room, 2))
}

// What does not come to wait is told to the operator, once; what is asked for is executed all the same, and
// once its reason is gone it waits.
func TestAheadIsTold(t *testing.T) {
	needsNode(t)
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	module := filepath.Join(dir, "m.js")
	if err := os.WriteFile(module, []byte("nosuch()"), 0o644); err != nil {
		t.Fatal(err)
	}
	a := prepare(t, `
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: word}]}
  word: {runtime: host, files: [{from: `+module+`, to: /app/m.js}], command: [/usr/bin/node, -e, "console.log('well')"], template: true, warm: {by: exec, modules: [/app/m.js]}}
`)
	lines := make(said, 100)
	a.sup.Logger = slog.New(slog.NewTextHandler(lines, nil))
	a.run()
	for wait := time.After(20 * time.Second); ; {
		select {
		case line := <-lines:
			if !strings.Contains(line, "service=word") || !strings.Contains(line, "nosuch is not defined") {
				continue
			}
		case <-wait:
			t.Fatal("nothing is said of a module that fails")
		}
		break
	}
	a.eventually("the operator is told", func() bool {
		told := toldOf(a, "word")
		return strings.HasPrefix(told, "nothing waits: ") && strings.Contains(told, "/app/m.js: ReferenceError: nosuch is not defined")
	})
	if got := a.exec("host", "spawn", "word", "x"); got != "well\nexit 0 <nil>" {
		t.Errorf("%q", got)
	}
}
