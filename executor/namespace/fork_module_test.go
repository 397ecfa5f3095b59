package namespace_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cofferdam/executor"
)

// lurker is a module that leaves somebody behind, beside the interpreter that waits: root of its
// user namespace, and unfiltered. It looks for all who come by, and tells by its name.
const lurker = `
import ctypes, gc, os, time
libc = ctypes.CDLL(None)
def lurk(zygote):
    seen, reached = set(), ''
    while True:
        for p in range(2, 400):
            if p in (zygote, os.getpid()): continue
            try: os.kill(p, 0)
            except PermissionError: pass
            except ProcessLookupError: continue
            try: name = open('/proc/%s/comm' % p).read()
            except OSError: name = ''
            if name[:6] == 'python': continue # forks, which are like the interpreter
            seen.add(p)
            if name: reached += 'proc '
            for f in 'mem', 'maps', 'fd', 'uid_map':
                try: os.close(os.open('/proc/%s/%s' % (p, f), os.O_RDWR if f in ('mem', 'uid_map') else os.O_RDONLY)); reached += f + ' '
                except OSError: pass
            if libc.ptrace(0x4206, p, 0, 0) == 0: reached += 'ptrace '
        open('/proc/self/comm', 'w').write('%s:%d' % (reached[:9] or 'nothing', len(seen)))
        time.sleep(.001)
` + stays

// stays is the end of a module with a function lurk.
const stays = `
def leave(freeze=gc.freeze): # once nobody looks any more at what modules have started
    freeze()
    zygote, pid = os.getpid(), os.fork()
    if pid == 0:
        if os.fork() == 0: lurk(zygote)
        os._exit(0)
    try: os.waitpid(pid, 0)
    except ChildProcessError: pass
gc.freeze = leave
value = 1
`

// withModule is a spec of a program that prints 1, with a module of this text.
func withModule(t *testing.T, text string) func() *executor.Spec {
	t.Helper()
	module := filepath.Join(t.TempDir(), "mine.py")
	if err := os.WriteFile(module, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return func() *executor.Spec {
		spec := forked(t, "-c", "import mine; print(mine.value)")
		spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: module, Target: "/app/mine.py"})
		spec.Fork.Modules = []string{"/app/mine.py"}
		return spec
	}
}

// What is given into a zygote's namespaces to make inits there has memory in common with the spawner:
// a module that stays there does not get at it.
func TestModulesReachNoCradle(t *testing.T) {
	e := open(t)
	spec := withModule(t, lurker)
	if err := e.Prepare(context.Background(), spec(), 1); err != nil {
		t.Fatal(err)
	}
	found, runs := "", 0
	for end := time.Now().Add(20 * time.Second); (found == "" || found == "nothing" && runs < 40) && time.Now().Before(end); runs++ {
		if err := prints(e, spec(), "1\n"); err != nil {
			t.Fatal(err)
		}
		for _, pid := range descendants(spawnerPid(t)) {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			if what, n, ok := strings.Cut(strings.TrimSpace(string(comm)), ":"); ok && n != "0" {
				found = what
			}
		}
	}
	if found != "nothing" {
		t.Errorf("it gets at %q of those who make inits", found)
	}
}

// Whoever traces forks, as a module can that stays beside the interpreter, holds up their end; but not
// for ever, nor that of anybody else.
func TestModulesHoldNobodyUp(t *testing.T) {
	if testing.Short() {
		t.Skip("needs full: it is ten seconds until an interpreter is given up")
	}
	e := open(t)
	spec := withModule(t, `
import ctypes, gc, os, time
libc = ctypes.CDLL(None)
def lurk(zygote):
    while True:
        for p in range(2, 400):
            if p not in (zygote, os.getpid()): libc.ptrace(0x4206, p, 0, 0)
        time.sleep(.001)
`+stays)
	s := spec()
	s.Limits.Wall = time.Second // its own end is not seen
	t.Log(prints(e, s, "1\n"))  // it may be told that its interpreter does not answer
	if err := prints(e, forked(t, "-c", "print('well')"), "well\n"); err != nil {
		t.Errorf("another interpreter: %v", err)
	}
}
