package namespace_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

// tenant leaves everything that another fork of its interpreter could find.
const tenant = `
import os, time, json, builtins, sys
secret = ('mark' + 'OfTheTenant') * 1000
builtins.left = json.left = os.environ['LEFT'] = secret
for f in '/tmp/left', '/dev/shm/left': open(f, 'w').write(secret)
open('/proc/self/comm', 'w').write('tenant')
print('ready', flush=True)
time.sleep(3600)`

// neighbour is hostile: it looks for the tenant, for the interpreter and for the spawner.
const neighbour = `
import os, sys, ctypes, signal, builtins, json, socket
libc = ctypes.CDLL(None, use_errno=True)
import re
mark = re.compile(rb'(?:mar[k]OfTheTenan[t]){9}') # which does not find itself
if hasattr(builtins, 'left') or hasattr(json, 'left') or 'LEFT' in os.environ: print('bad: finds a mark')
for f in '/tmp/left', '/dev/shm/left':
    if os.path.exists(f): print('bad: finds', f)
control, own = re.compile(rb'(?:contro[l]Mark){9}'), (b'control' + bytes('Mark', 'ascii')) * 1000
found = seen = 0
with open('/proc/self/mem', 'rb', 0) as mem:
    for line in open('/proc/self/maps'):
        span, mode, _, _, inode = line.split()[:5]
        low, high = (int(x, 16) for x in span.split('-'))
        if mode[3] == 's' and mode[1] == 'w': print('bad: shares', line)
        if mode[0] != 'r' or 'vsyscall' in line or 'vvar' in line: continue
        mem.seek(low)
        try:
            b = mem.read(high - low)
            found += len(mark.findall(b)); seen += len(control.findall(b))
        except OSError: pass
if not seen: print('bad: does not even find its own mark')
if found: print('bad: the mark is in memory', found)
for fd in range(3, 1024):
    try: print('bad: descriptor', fd, os.readlink('/proc/self/fd/%d' % fd))
    except OSError: pass
pids = [p for p in os.listdir('/proc') if p.isdigit() and int(p) not in (1, os.getpid())]
if pids: print('bad: sees', pids)
for f in 'mem', 'maps', 'environ', 'fd', 'ns/user', 'root', 'cwd', 'exe', 'stack', 'syscall':
    try:
        p = '/proc/1/' + f
        if f in ('exe', 'root', 'cwd') or f[:2] == 'ns': os.readlink(p)
        elif f == 'fd': os.listdir(p)
        else: open(p, 'rb').read(1)
        if SINGLE and f in ('environ', ): continue
        print('bad: reads', p)
    except OSError: pass
for name, args in (('ptrace', (16, 1, 0, 0)), ('ptrace', (0x4206, 1, 0, 0)), ('setns', (0, 0)), ('unshare', (0x10000000,)), ('unshare', (0x20000,)),
                   ('mount', (b'none', b'/tmp', b'tmpfs', 0, 0)), ('pivot_root', (b'/', b'/')), ('chroot', (b'/tmp',)), ('setuid', (0,)), ('setresuid', (0, 0, 0)),
                   ('sethostname', (b'x', 1)), ('prctl', (24, 21, 0, 0, 0)), ('process_vm_readv', (1, 0, 0, 0, 0, 0)), ('pidfd_getfd', (0, 3, 0))):
    f = getattr(libc, name, None)
    if f is not None and f(*args) == 0 and name != 'prctl': print('bad:', name, args)
for sig in signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV:
    for pid in 1, os.getppid() or 1, -os.getpgid(0) - 7:
        try: os.kill(pid, sig)
        except OSError: pass
status = dict(l.rstrip('\n').split(':\t', 1) for l in open('/proc/self/status') if ':\t' in l)
if any(int(status[n], 16) for n in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')) and int(status['CapBnd'], 16): print('bad: capabilities', status['CapBnd'])
if status['NoNewPrivs'] != '1' or status['Seccomp'] != '2': print('bad: unfiltered')
for name in '\0cofferdam', '\0left':
    try: socket.socket(socket.AF_UNIX).connect(name); print('bad: connects')
    except OSError: pass
import random, uuid, secrets, ssl, tempfile, os.path
print('drawn', random.random(), uuid.uuid4(), secrets.token_hex(), ssl.RAND_bytes(8).hex(), os.urandom(8).hex(), os.path.basename(tempfile.mktemp()), uuid.uuid1().hex[16:20],
      bytes(__import__('multiprocessing').current_process().authkey).hex())
print('hash', hash('a'), hex(id(None)))
`

// Of two forks of one interpreter neither finds anything of the other, nor reaches what made
// both; and what each draws by chance is its own.
func TestForksAreApart(t *testing.T) {
	e := open(t)
	modules := []string{"json", "random", "uuid", "ssl", "secrets", "tempfile", "multiprocessing"}
	start := func(program string, out io.Writer) executor.Process {
		spec := forked(t, "-c", program)
		spec.Fork.Modules = modules
		spec.Command.Stdout, spec.Command.Stderr = out, out
		p, err := e.Start(context.Background(), spec)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Kill(executor.CausePolicy, ""); <-p.Done() })
		return p
	}
	r, w := io.Pipe()
	victim := start(tenant, w)
	ready := make([]byte, 6)
	if _, err := io.ReadFull(r, ready); err != nil || string(ready) != "ready\n" {
		t.Fatalf("the tenant says %q, %v", ready, err)
	}
	go io.Copy(io.Discard, r)
	single := "False"
	if !enforced(e, "uid-range") {
		single = "True"
	}
	drawn := map[string]int{}
	for n := range 6 {
		var out bytes.Buffer
		p := start("SINGLE = "+single+neighbour, &out)
		<-p.Done()
		if got := p.Exit(); got.Code != 0 || strings.Contains(out.String(), "bad:") || !strings.Contains(out.String(), "drawn ") {
			t.Errorf("neighbour %d: %+v\n%s", n, got, &out)
		}
		for line := range strings.Lines(out.String()) {
			if f := strings.Fields(line); f[0] == "drawn" {
				for i, word := range f[1:] {
					drawn[fmt.Sprint(i, " ", word)]++
				}
			}
		}
	}
	for word, n := range drawn {
		if n > 1 && !strings.HasPrefix(word, "6 ") { // 16 bits of a clock's sequence meet by chance
			t.Errorf("%d forks have drawn %s", n, word)
		}
	}
	select {
	case <-victim.Done():
		t.Errorf("the tenant has ended: %+v", victim.Exit())
	default:
	}
}

// A fork is under the same limits, and its end says which one it was.
func TestForkLimits(t *testing.T) {
	e := open(t)
	for _, tt := range []struct {
		name, program, needs string
		limits               executor.Limits
		want                 executor.Cause
	}{
		{"memory", "x = []\nwhile True: x.append(bytearray(1 << 20))", "cgroup.memory", executor.Limits{MemoryBytes: 48 << 20}, executor.CauseOOM},
		{"processes", "import os, time\nwhile True:\n    if os.fork() == 0: time.sleep(60)", "cgroup.pids", executor.Limits{Pids: 8}, executor.CausePids},
		{"wall", "import time; time.sleep(60)", "", executor.Limits{Wall: 200 * time.Millisecond}, executor.CauseWall},
		{"processor", "while True: pass", "", executor.Limits{CPU: 200 * time.Millisecond}, executor.CauseCPU},
		{"output", "while True: print('x' * 1000)", "", executor.Limits{OutputBytes: 64 << 10}, executor.CauseOutput},
		{"file", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); open('/tmp/f', 'wb').write(bytes(1 << 20))", "", executor.Limits{FileBytes: 64 << 10}, executor.CauseDisk},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.needs != "" && !enforced(e, tt.needs) {
				t.Skipf("needs cgroup: %s is not enforced here", tt.needs)
			}
			spec := forked(t, "-c", tt.program)
			spec.Limits = tt.limits
			if spec.Limits.Wall == 0 {
				spec.Limits.Wall = time.Minute
			}
			if got := finish(t, e, spec); got.Cause != tt.want {
				t.Errorf("%+v, want %s", got.Exit, tt.want)
			}
		})
	}
	if got := finish(t, e, forked(t, "-c", "print('well')")); got.stdout != "well\n" {
		t.Errorf("the next fork: %+v", got)
	}
}

// However many forks there are, what they keep of their interpreter's memory is not the end of it.
func TestManyForks(t *testing.T) {
	if testing.Short() {
		t.Skip("short: three hundred environments")
	}
	e := open(t)
	if !enforced(e, "cgroup.memory") {
		t.Skip("needs cgroup: nobody bounds the interpreter's memory here")
	}
	var all []executor.Process
	for range 300 {
		spec := forked(t, "-c", "import time; time.sleep(3600)")
		p, err := e.Start(context.Background(), spec)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { p.Kill(executor.CausePolicy, ""); <-p.Done() }()
		all = append(all, p)
	}
	for n, p := range all {
		select {
		case <-p.Done():
			t.Fatalf("fork %d has ended: %+v", n, p.Exit())
		default:
		}
	}
}

// What an interpreter is to load, and what it does not.
func TestForkModules(t *testing.T) {
	e := open(t)
	dir := t.TempDir()
	module := filepath.Join(dir, "mine.py")
	run := func(text string, modules ...string) (result, error) {
		if err := os.WriteFile(module, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		spec := forked(t, "-c", "import sys; print(sys.modules['mine'].value)")
		spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: module, Target: "/app/mine.py"})
		spec.Fork.Modules = modules
		var out bytes.Buffer
		spec.Command.Stdout = &out
		p, err := e.Start(context.Background(), spec)
		if err != nil {
			return result{}, err
		}
		<-p.Done()
		return result{Exit: p.Exit(), stdout: out.String()}, nil
	}
	for _, value := range []string{"1", "'another one, after the file was changed'"} {
		if got, err := run("value = "+value+"\n", "/app/mine.py"); err != nil || got.stdout != strings.Trim(value, "'")+"\n" {
			t.Errorf("value %s: %+v, %v", value, got, err)
		}
	}
	for _, tt := range []struct{ text, module, want string }{
		{"", "nosuchmodule", "No module named 'nosuchmodule'"},
		{"1/0", "/app/mine.py", "division by zero"},
		{"import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "/app/mine.py", "threads"},
		{"import os; os._exit(0)", "/app/mine.py", "load the modules"},
		{"import mmap\nm = mmap.mmap(-1, 4096)", "/app/mine.py", "share memory"},
		{"import mmap\nm = mmap.mmap(-1, 4096, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, mmap.PROT_READ)", "/app/mine.py", "share memory"},
		{"import mmap, os\nf = os.memfd_create('m'); os.ftruncate(f, 4096)\nm = mmap.mmap(f, 4096, prot=mmap.PROT_READ); os.close(f)", "/app/mine.py", "share memory"},
	} {
		if _, err := run(tt.text, tt.module); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
	if got := finish(t, e, forked(t, "-c", "print('well')")); got.stdout != "well\n" {
		t.Errorf("another zygote: %+v", got)
	}
}

// An interpreter that is killed, or hangs, takes its forks with it and is replaced, while those
// who start wait.
func TestZygoteEnds(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: the interpreter has an id of its own")
	}
	e := open(t)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		if sig == syscall.SIGSTOP && testing.Short() {
			continue // which is found out after ten seconds
		}
		running, err := e.Start(context.Background(), forked(t, "-c", "import time; time.sleep(3600)"))
		if err != nil {
			t.Fatal(err)
		}
		pid := zygotePid(t)
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		if sig == syscall.SIGKILL {
			// Who comes while it dies gets a fork of the next one, or one that dies with it.
			for range 3 {
				wg.Go(func() {
					var out bytes.Buffer
					spec := forked(t, "-c", "print('well')")
					spec.Command.Stdout = &out
					p, err := e.Start(context.Background(), spec)
					if err != nil {
						t.Errorf("while it dies: %v", err)
						return
					}
					<-p.Done()
					if got := p.Exit(); out.String() != "well\n" && got.Cause != executor.CauseInternal {
						t.Errorf("while it dies: printed %q: %+v", out.String(), got)
					}
				})
			}
			for syscall.Kill(pid, 0) == nil {
				time.Sleep(time.Millisecond)
			}
		}
		for range 6 {
			wg.Go(func() {
				for range 2 {
					if err := prints(e, forked(t, "-c", "print('well')"), "well\n"); err != nil {
						t.Errorf("after %v: %v", sig, err)
					}
				}
			})
		}
		wg.Wait()
		running.Kill(executor.CausePolicy, "")
		<-running.Done()
		if got := running.Exit(); sig == syscall.SIGKILL && got.Cause != executor.CauseInternal {
			t.Errorf("a fork of one that was killed: %+v", got)
		}
	}
}

// prints runs spec, which is to print want.
func prints(e *namespace.Executor, spec *executor.Spec, want string) error {
	var out bytes.Buffer
	spec.Command.Stdout = &out
	p, err := e.Start(context.Background(), spec)
	if err != nil {
		return err
	}
	<-p.Done()
	if out.String() != want {
		return fmt.Errorf("printed %q: %+v", out.String(), p.Exit())
	}
	return nil
}

// zygotePid finds the interpreter that waits: its forks look like it, and are in pid namespaces
// that are nested in its own.
func zygotePid(t *testing.T) (zygote int) {
	t.Helper()
	least := 0
	for _, pid := range descendants(spawnerPid(t)) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if !strings.HasPrefix(string(line), python+"\x00") || !strings.Contains(string(line), "Is the zygote") {
			continue
		}
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, rest, _ := strings.Cut(string(status), "\nNSpid:")
		numbers, _, _ := strings.Cut(rest, "\n")
		if n := len(strings.Fields(numbers)); n > 0 && (zygote == 0 || n < least) {
			zygote, least = pid, n
		}
	}
	if zygote == 0 {
		t.Fatal("there is no zygote")
	}
	return zygote
}
