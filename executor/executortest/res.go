package executortest

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/executortest/census"
)

// resourceCases are bombs, floods and what is left behind.
var resourceCases = slices.Concat(memoryCases, processCases, fileCases, countedCases)

// bomb is a program that takes as much as it can of one thing, while a neighbour goes
// about its business. What is left of all bombs is looked for after the last one.
type bomb struct {
	args   []string
	change func(*executor.Spec)
	// How it ends, with the key and the limit of the exit record, and if it ends by
	// itself the status: mostly 0, because the probe met its refusal and says so.
	ends       executor.Cause
	key, limit string
	code       int
	// Where a limit is watched and not enforced by the kernel (see docs/SECURITY.md) it
	// can end otherwise. watched names the protection, unwatched the cause.
	watched   string
	unwatched executor.Cause
	// then is asked of the result, if there is more to it.
	then func(*Trial, Result)
}

// enforced tells whether the kernel enforces a limit by itself: "cgroup.memory".
func (t *Trial) enforced(name string) bool {
	for _, p := range t.Executor.Protections() {
		if p.Name == name {
			return p.Status == executor.Pass
		}
	}
	return true // an executor that has no such mechanism has a better one
}

func (b bomb) outside(t *Trial) {
	t.Helper()
	t.quietly()
	n := t.neighbour()
	spec := t.Spec(b.args...)
	if b.change != nil {
		b.change(spec)
	}
	p := t.Start(spec)
	n.answersWhile(p)
	r := p.Wait()
	want, key, limit := b.ends, b.key, b.limit
	if b.watched != "" && !t.enforced(b.watched) {
		if want = b.unwatched; want == executor.CauseExit {
			key, limit = "", ""
		}
	}
	t.Check("the end", r.Cause, want)
	t.Check("the limit that fired", r.Key+" "+r.Limit, key+" "+limit)
	if want == executor.CauseExit {
		t.Check("its status", r.Code, b.code)
	}
	if b.then != nil {
		b.then(t, r)
	}
	if t.Failed() {
		t.Logf("%+v\n%s%s", r.Exit, tail(r.Stdout), tail(r.Stderr))
	}
	n.answers()
	t.Check("what the neighbour got wrong", strings.Join(n.wrong, "; "), "")
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

// quiet is what there was before the first bomb, of what may be no more after the last one.
type quiet struct {
	scope  *census.Scope
	before census.Census
}

// quietly has there be a census before the first bomb: of an executor that has had an environment, and now
// has none. Blanks that wait ahead come back in their time, and what is kept to be used again is given up in its time, so
// it is taken once nothing has changed for long: which is why it is not taken for each bomb.
func (t *Trial) quietly() {
	t.Helper()
	if *t.quiet != nil {
		return
	}
	n := t.neighbour()
	s := &census.Scope{Count: true}
	// The spawner is the parent of its init.
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.Pid())); err == nil {
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		s.Apps = []string{"test." + f[1]}
	}
	n.Kill(executor.CausePolicy, "it has been seen")
	<-n.Done()
	before := s.Take()
	for same := 0; same < 20; same++ {
		time.Sleep(100 * time.Millisecond)
		now := s.Take()
		if len(s.Left(before, now))+len(s.Left(now, before)) > 0 {
			same = 0
		}
		before = now
	}
	*t.quiet = &quiet{s, before}
}

// left is what there is more of after all bombs.
func (q *quiet) left() []string { return q.scope.Settle(q.before, patience) }

// neighbour is an environment that gives back every line it is given.
type neighbour struct {
	*Started
	in     *os.File
	out    *bufio.Reader
	number int
	wrong  []string
}

func (t *Trial) neighbour() *neighbour {
	t.Helper()
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	spec := t.Spec()
	spec.Name, spec.Limits.Wall = "neighbour", patience
	spec.Command.Args = []string{"cat"}
	spec.Command.Stdin, spec.Command.Stdout = inR, outW
	n := &neighbour{Started: t.Start(spec), in: inW, out: bufio.NewReader(outR)}
	inR.Close()
	outW.Close()
	t.Cleanup(func() { inW.Close(); outR.Close() })
	return n
}

// answersWhile asks for lines back as long as p runs.
func (n *neighbour) answersWhile(p *Started) {
	for {
		n.answers()
		select {
		case <-p.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// answers asks for one line back.
func (n *neighbour) answers() {
	n.number++
	want := fmt.Sprintf("line %d\n", n.number)
	if _, err := n.in.WriteString(want); err != nil {
		n.wrong = append(n.wrong, err.Error())
		return
	}
	if got, err := n.out.ReadString('\n'); err != nil || got != want {
		n.wrong = append(n.wrong, fmt.Sprintf("%q, %v for %q", got, err, want))
	}
}

// python has the program be a script, for calls that take pointers. It says how its
// attempts went as a probe does: attempt(what, errno, "EMFILE", …).
func (t *Trial) python(spec *executor.Spec, script string) {
	t.Helper()
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("needs python3: ", err)
	}
	spec.Command.Args = []string{"/usr/bin/python3", "-I", "-c", pythonHead + script}
}

const pythonHead = `
import ctypes, errno, json, os, resource, signal, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(f, *args):
    "the result of a function of libc, and its errno"
    r = f(*args)
    return r, (ctypes.get_errno() if r == -1 else 0)
def attempt(what, e, *want):
    print("\x01attempt " + json.dumps({"What": what, "Got": errno.errorcode[e] if e else "ok", "Want": want}), flush=True)
def check(what, got, want):
    print("\x01attempt " + json.dumps({"What": what, "Got": str(got), "Want": [str(want)]}), flush=True)
`
