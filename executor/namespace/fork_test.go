package namespace_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/executortest"
	"cofferdam/executor/namespace"
)

const python = "/usr/bin/python3"

// forked is a spec of a Python program that is forked.
func forked(t testing.TB, args ...string) *executor.Spec {
	t.Helper()
	if _, err := os.Stat(python); err != nil {
		t.Skip("needs python3: no /usr/bin/python3 on this host")
	}
	spec := host(append([]string{python, "-I", "-B"}, args...)...)
	spec.Fork = &executor.Fork{Interpreter: spec.Command.Args[:3], Env: path}
	return spec
}

// behaviour is a program, and what a fresh interpreter does with it is what any other is to do.
type behaviour struct {
	name, stdin string
	args        []string
}

// spec completes s, which is of its arguments.
func (tt behaviour) spec(s *executor.Spec) *executor.Spec {
	s.Command.Env = append(s.Command.Env, "A=b", "TZ=Asia/Tokyo")
	s.Command.Stdin = strings.NewReader(tt.stdin)
	for name, text := range map[string]string{
		"/tmp-file.py": "import sys\nprint(sys.argv, __name__, __file__)\n", "/list.json": "[1, 2]",
		"/raises.py": "def f():\n    raise ValueError('bad')\n\nf()\n", "/wrong.py": "x = = 1\n",
		"/main.py":  "import sys\nm = sys.modules['__main__']\nprint({k: str(v) for k, v in sorted(vars(m).items()) if k[:2] == '__' and k not in ('__builtins__', '__loader__')}, type(__loader__), __builtins__)\n",
		"/multi.py": "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n    p = m.Process(target=print, args=('child',)); p.start(); p.join(); print(p.exitcode)\n",
	} {
		s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountFile, Target: name, Data: []byte(text)})
	}
	return s
}

var behaviours = []behaviour{
	{"code", "", []string{"-c", "import sys; print(6*7, sys.argv, __name__, __file__ if '__file__' in globals() else 'no file')", "a", "-b"}},
	{"file", "", []string{"/tmp-file.py", "x", "y"}},
	{"module", "", []string{"-m", "json.tool", "/list.json"}},
	{"module that is not there", "", []string{"-m", "nosuch"}},
	{"package", "", []string{"-m", "this"}},
	{"standard input", "import sys\nprint(sys.argv, __name__)\n", []string{"-", "a"}},
	{"no arguments", "print(1)\n", nil},
	{"reads its input", "one\ntwo\n", []string{"-c", "print(input() + '|' + input())\ntry: input()\nexcept EOFError as e: print('end', e)"}},
	{"file that is not there", "", []string{"/nosuch.py"}},
	{"-c without code", "", []string{"-c"}},
	{"exception", "", []string{"-c", "def f():\n    raise ValueError('bad')\nf()"}},
	{"exception in a file", "", []string{"/raises.py"}},
	{"chained exceptions", "", []string{"-c", "try: 1/0\nexcept Exception as e: raise KeyError('k') from e"}},
	{"syntax", "", []string{"-c", "x = = 1"}},
	{"syntax in a file", "", []string{"/wrong.py"}},
	{"exit with a number", "", []string{"-c", "import sys; sys.exit(7)"}},
	{"exit with a large number", "", []string{"-c", "import sys; sys.exit(257)"}},
	{"exit with nothing", "", []string{"-c", "import sys; sys.exit()"}},
	{"exit with a text", "", []string{"-c", "import sys; print('out'); sys.exit('a text')"}},
	{"exit with False", "", []string{"-c", "raise SystemExit(False)"}},
	{"ends at once", "", []string{"-c", "import os; print('lost', end=''); os._exit(3)"}},
	{"signal", "", []string{"-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM); print('not reached')"}},
	{"interrupt", "", []string{"-c", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(9)"}},
	{"abort", "", []string{"-c", "import os; os.abort()"}},
	{"handler", "", []string{"-c", "import os, signal\nsignal.signal(signal.SIGUSR1, lambda *a: print('handled'))\nos.kill(os.getpid(), signal.SIGUSR1)"}},
	{"dispositions", "", []string{"-c", "import signal\nfor n in range(1, 65):\n    try: print(n, signal.getsignal(n))\n    except ValueError: pass\nprint(signal.pthread_sigmask(signal.SIG_BLOCK, []))"}},
	{"atexit", "", []string{"-c", "import atexit; atexit.register(print, 'first'); atexit.register(print, 'second'); print('body')"}},
	{"atexit fails", "", []string{"-c", "import atexit\n@atexit.register\nclass C:\n    def __init__(self): 1/0\nprint('body')"}},
	{"threads", "", []string{"-c", "import threading, time\ndef f():\n    time.sleep(.05); print('thread')\nthreading.Thread(target=f).start(); print('main')"}},
	{"file left open", "", []string{"-c", "f = open('/tmp/f', 'w'); f.write('kept')\nimport os, atexit\nclass C:\n    def __del__(self): print('deleted')\nc = C()\nd = C(); d.me = d"}},
	{"children", "", []string{"-c", "import os, subprocess\nprint(subprocess.run(['/bin/echo', 'child'], capture_output=True, text=True).stdout)\npid = os.fork()\nif pid == 0: os._exit(5)\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"}},
	{"streams", "", []string{"-c", "import sys\nfor f in sys.stdin, sys.stdout, sys.stderr, sys.__stdout__:\n    print(f.name, f.mode, f.encoding, f.errors, f.line_buffering, f.write_through, f.newlines, f.fileno(), type(f.buffer).__name__, type(f.buffer.raw).__name__)"}},
	{"order of streams", "", []string{"-c", "import sys; sys.stdout.write('a'); sys.stderr.write('b'); sys.stdout.write('c')"}},
	{"text", "ä€\n", []string{"-c", "import sys; t = sys.stdin.read(); print(ascii(t), t)"}},
	{"closed output", "", []string{"-c", "import sys; sys.stdout.close(); print('x', file=sys.stderr)"}},
	{"main", "", []string{"-c", "import sys, __main__; m = sys.modules['__main__']; print(m is __main__, sorted(k for k in vars(m) if k != 'm'), m.__spec__, m.__doc__, m.__package__)"}},
	{"main of a file", "", []string{"/main.py"}},
	{"pickle of main", "", []string{"-c", "import pickle\nclass C: pass\nprint(pickle.loads(pickle.dumps(C())).__class__)"}},
	{"paths", "", []string{"-c", "import sys, os; print(sys.path, os.getcwd(), sys.executable, sys.prefix, sys.flags, sys.dont_write_bytecode)"}},
	{"variables", "", []string{"-c", "import os; print(sorted(os.environ.items()), os.getenv('A'), os.popen('echo $A').read())"}},
	{"time zone", "", []string{"-c", "import time; print(time.tzname, time.localtime(0).tm_hour)"}},
	{"ids", "", []string{"-c", "import os, socket; print(os.getresuid(), os.getresgid(), os.getgroups(), os.getppid(), os.getsid(0) == os.getpid() == os.getpgrp(), socket.gethostname(), os.umask(0))"}},
	{"limits", "", []string{"-c", "import resource as r; print([(n, r.getrlimit(getattr(r, n))) for n in sorted(dir(r)) if n.startswith('RLIMIT')])"}},
	{"status", "", []string{"-c", "print([l for l in open('/proc/self/status') if l.split(':')[0] in ('Name', 'Umask', 'Groups', 'Threads', 'SigPnd', 'ShdPnd', 'SigBlk', 'SigIgn', 'SigCgt', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Seccomp_filters', 'Speculation_Store_Bypass', 'TracerPid')])"}},
	{"descriptors", "", []string{"-c", "import os\nfor fd in range(1024):\n    try: print(fd, os.fstat(fd).st_mode & 0o170000, os.get_inheritable(fd))\n    except OSError: pass"}},
	{"names of sys", "", []string{"-c", "import sys; print(sorted(vars(sys)), sorted(vars()))"}},
	{"collector", "", []string{"-c", "import gc; print(gc.isenabled(), gc.get_threshold())"}},
	{"recursion", "", []string{"-c", "def f(): f()\ntry: f()\nexcept RecursionError as e: print(e)"}},
	{"traceback module", "", []string{"-c", "import traceback, sys\ntry: 1/0\nexcept Exception: traceback.print_exc(file=sys.stdout)"}},
	{"excepthook", "", []string{"-c", "import sys\nsys.excepthook = lambda *a: print('hook', a[0])\n1/0"}},
	{"frames", "", []string{"-c", "import sys; print(sys._getframe().f_code.co_name, sys._getframe().f_lineno)"}},
	{"future", "", []string{"-c", "from __future__ import annotations\nx: y = 1\nprint(__annotations__)"}},
	{"multiprocessing", "", []string{"/multi.py"}},
}

// A fork does what a fresh interpreter does, word for word.
func TestForkBehaves(t *testing.T) {
	e := open(t)
	for _, tt := range behaviours {
		t.Run(tt.name, func(t *testing.T) {
			spec := func() *executor.Spec { return tt.spec(forked(t, tt.args...)) }
			fresh := spec()
			fresh.Fork = nil
			want, got := finish(t, e, fresh), finish(t, e, spec())
			if got.Cause != want.Cause || got.Code != want.Code || got.Signal != want.Signal {
				t.Errorf("forked: %+v\nexecuted: %+v", got.Exit, want.Exit)
			}
			if got.stdout != want.stdout || got.stderr != want.stderr {
				t.Errorf("forked:\n%s%s\nexecuted:\n%s%s", got.stdout, got.stderr, want.stdout, want.stderr)
			}
		})
	}
}

// forker forks whatever it is to start: a program of Python that becomes the program that
// is meant, inside, where everything is kept apart by then.
type forker struct{ *namespace.Executor }

const become = `
import os, signal, sys
for s in signal.SIGPIPE, signal.SIGXFSZ: signal.signal(s, signal.SIG_DFL) # Python ignores them
os.environ.pop('LC_CTYPE', None) # PEP 538
os.execvpe(sys.argv[1], sys.argv[1:], os.environ)`

func (f forker) Start(ctx context.Context, spec *executor.Spec) (executor.Process, error) {
	if !slices.ContainsFunc(spec.Mounts, func(m executor.Mount) bool { return m.Kind == executor.MountRuntime }) {
		return f.Executor.Start(ctx, spec) // no interpreter there
	}
	if a := spec.Command.Args[0]; strings.ContainsAny(a[:1], "-$;") || strings.ContainsAny(a, "\x00") || a == "/no/such/program" {
		return f.Executor.Start(ctx, spec) // the case is about what cannot be executed
	}
	other := *spec
	interpreter := []string{python, "-I", "-B"}
	other.Fork = &executor.Fork{Interpreter: interpreter}
	other.Command.Args = slices.Concat(interpreter, []string{"-c", become}, spec.Command.Args)
	return f.Executor.Start(ctx, &other)
}

// Every known way out is tried by a fork too, and fails.
func TestMustNotWorkForked(t *testing.T) {
	forked(t)
	executortest.Run(t, func(t testing.TB) executor.Executor { return forker{open(t)} })
}

// Nothing is left of forks, however they come and go.
func TestNothingIsLeftOfForks(t *testing.T) {
	forked(t)
	starts := 2000
	if testing.Short() {
		starts = 250
	}
	nothingIsLeft(t, starts, func(e *namespace.Executor) executor.Executor { return forker{e} })
}

// A fork looks for modules where a fresh interpreter does: not where it happens to be, which may
// be where others write.
func TestForkSearches(t *testing.T) {
	e := open(t)
	const shows = "import sys, os; print(sys.path, os.getcwd())"
	for _, args := range [][]string{{"/app/main.py"}, {"-c", shows}, {"-"}, {"-m", "site"}} {
		spec := func() *executor.Spec {
			s := forked(t)
			s.Fork.Interpreter = s.Fork.Interpreter[:1] // not isolated
			s.Command.Args = slices.Concat(s.Fork.Interpreter, args)
			s.Command.Dir = "/tmp"
			s.Command.Stdin = strings.NewReader(shows)
			s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountFile, Target: "/app/main.py", Data: []byte(shows)})
			return s
		}
		fresh := spec()
		fresh.Fork = nil
		want, got := finish(t, e, fresh), finish(t, e, spec())
		if got.Code != 0 || got.stdout != want.stdout {
			t.Errorf("%q forked: %+v\n%s%s\nexecuted:\n%s", args, got.Exit, got.stdout, got.stderr, want.stdout)
		}
	}
}

// The interpreter of a spec that is prepared waits before anything is started, is the one that
// forks come from, and ends when it is not wanted any more.
func TestForkAhead(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: to look at another user's processes")
	}
	e := open(t)
	spec := func() *executor.Spec { return forked(t, "-c", "print('well')") }
	prepare := func(n int) {
		t.Helper()
		if err := e.Prepare(context.Background(), spec(), n); err != nil {
			t.Fatal(err)
		}
	}
	prepare(1)
	waits := zygotePid(t)
	if err := prints(e, spec(), "well\n"); err != nil {
		t.Fatal(err)
	}
	prepare(1)
	if now := zygotePid(t); now != waits {
		t.Errorf("process %d is the zygote, and %d was", now, waits)
	}
	prepare(0)
	for end := time.Now().Add(10 * time.Second); syscall.Kill(waits, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the zygote has not ended")
		}
	}
	if err := prints(e, spec(), "well\n"); err != nil {
		t.Errorf("after that: %v", err)
	}
}
