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

// What is given into a zygote's namespaces to make inits there has memory in common with the spawner:
// a module that stays there does not get at it.
func TestModulesReachNoCradle(t *testing.T) {
	e := open(t)
	module := filepath.Join(t.TempDir(), "mine.py")
	if err := os.WriteFile(module, []byte(lurker), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := func() *executor.Spec {
		spec := forked(t, "-c", "import mine; print(mine.value)")
		spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: module, Target: "/app/mine.py"})
		spec.Fork.Modules = []string{"/app/mine.py"}
		return spec
	}
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
