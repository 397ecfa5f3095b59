package namespace_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/executortest"
	"cofferdam/executor/namespace"
)

// earlier starts whatever it is to start in an interpreter that was executed ahead: a program of Python
// that becomes the program that is meant.
type earlier struct {
	*namespace.Executor
	refused, woken int
}

func (f *earlier) Start(ctx context.Context, spec *executor.Spec) (executor.Process, error) {
	f.refused++
	if !slices.ContainsFunc(spec.Mounts, func(m executor.Mount) bool { return m.Kind == executor.MountRuntime }) {
		return f.Executor.Start(ctx, spec) // no interpreter there
	}
	if a := spec.Command.Args[0]; strings.ContainsAny(a[:1], "-$;") || strings.ContainsAny(a, "\x00") || a == "/no/such/program" {
		return f.Executor.Start(ctx, spec) // the case is about what cannot be executed
	}
	other := *spec
	if len(spec.Extra) > 0 {
		return f.Executor.Start(ctx, spec)
	}
	interpreter := []string{python, "-I", "-B"}
	other.Ahead = &executor.Ahead{Interpreter: interpreter}
	other.Command.Args = slices.Concat(interpreter, []string{"-c", become}, spec.Command.Args)
	if err := f.Prepare(ctx, &other, 1); err == nil {
		defer f.Prepare(context.Background(), &other, 0)
		f.refused--
		f.woken++
	}
	return f.Executor.Start(ctx, &other)
}

// Every known way out is tried by what was executed ahead too, and fails.
func TestMustNotWorkAhead(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the same as TestMustNotWork, in what was executed ahead")
	}
	forked(t)
	var all []*earlier
	executortest.Run(t, func(t testing.TB) executor.Executor {
		f := &earlier{Executor: open(t)}
		all = append(all, f)
		return f
	})
	for _, f := range all {
		t.Logf("%d programs were woken, %d could not be executed ahead", f.woken, f.refused)
	}
}

// Nothing is left of what was executed ahead, however it comes and goes.
func TestNothingIsLeftAhead(t *testing.T) {
	forked(t)
	starts := 150 // for each executes an interpreter first
	if testing.Short() {
		starts = 60
	}
	nothingIsLeft(t, starts, func(e *namespace.Executor) executor.Executor { return &earlier{Executor: e} })
}

// What is one instance's alone comes when an interpreter is woken, and what waits for the next one knows
// nothing of it: each is another process, in which nothing was run for anybody.
func TestAheadBecomesSomebodys(t *testing.T) {
	e := open(t)
	dir := t.TempDir()
	const script = `
const fs = require('fs'), net = require('net');
const was = fs.existsSync('/tmp/left') || globalThis.left || process.env.LEFT;
fs.writeFileSync('/tmp/left', 'x'); globalThis.left = process.env.LEFT = 1;
require('/app/lib.js').left = 1;
console.log(was, require('os').hostname(), fs.readFileSync('/run/name', 'utf8'), fs.readdirSync('/run').join(), process.env.WHO, process.argv.slice(2).join(), require('/app/lib.js').loaded, process.pid);
net.connect('/run/cofferdam/wire').on('data', d => console.log(d.toString())).on('close', () => { setTimeout(() => {}, 100) });`
	spec := func(n int) *executor.Spec {
		s := nodeAhead(t, []string{"/app/a.js"}, fmt.Sprintf("argument %d", n))
		s.Name = fmt.Sprintf("one-%d", n)
		s.Ahead.Modules = []string{"./lib.js"}
		s.Command.Env = append(s.Command.Env, fmt.Sprintf("WHO=tenant %d", n))
		path := filepath.Join(dir, fmt.Sprintf("socket-%d", n))
		if n >= 0 {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			os.Chmod(path, 0o666)
			os.Chmod(dir, 0o755)
			t.Cleanup(func() { l.Close() })
			go func() {
				for c, err := l.Accept(); err == nil; c, err = l.Accept() {
					fmt.Fprintf(c, "monitor of %d", n)
					c.Close()
				}
			}()
		}
		s.Mounts = append(s.Mounts,
			executor.Mount{Kind: executor.MountFiles, Target: "/run"},
			executor.Mount{Kind: executor.MountSocket, Source: path, Target: "/run/cofferdam/wire"},
			file("/app/a.js", script), file("/app/lib.js", "module.exports = {loaded: !require('fs').existsSync('/run/name') && !process.env.WHO}"),
			executor.Mount{Kind: executor.MountFile, Target: "/run/name", Data: []byte(fmt.Sprintf("file of %d", n)), Mode: 0o400})
		s.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:80")}
		return s
	}
	if err := e.Prepare(context.Background(), spec(-1), 2); err != nil {
		t.Fatal(err)
	}
	used := map[int]bool{}
	for n := range 4 {
		var waits []int
		for end := time.Now().Add(time.Minute); len(waits) < 2; waits = aheads(t) {
			if time.Now().After(end) {
				t.Fatalf("%d wait, want 2", len(waits))
			}
			time.Sleep(time.Millisecond)
		}
		got, init := finishAs(t, e, spec(n))
		if !slices.Contains(waits, init) || used[init] {
			t.Errorf("start %d is environment %d, of %v that wait; used were %v", n, init, waits, used)
		}
		used[init] = true
		want := fmt.Sprintf("undefined one-%d file of %d cofferdam,name tenant %d argument %d true 2\nmonitor of %d\n", n, n, n, n, n)
		if strings.Replace(got.stdout, "false", "undefined", 1) != want {
			t.Errorf("%q, %+v, want %q", got.stdout, got, want)
		}
	}
}

// A program that was woken finds nothing of what woke it, and cannot have itself woken once more.
func TestAheadIsWokenOnce(t *testing.T) {
	e := open(t)
	got := woken(t, e, nodeAhead(t, []string{"-e", `
const fs = require('fs');
const tried = [];
for (let i = 0; i < 3; i++) try { fs.closeSync(2 ** 31 - 1); tried.push('woken') } catch (e) { tried.push(e.code) }
console.log(tried.join());
for (const fd of fs.readdirSync('/proc/self/fd')) {
	let to = '';
	try { to = fs.readlinkSync('/proc/self/fd/' + fd) } catch { continue }
	if (/seccomp|memfd|ahead/.test(to)) console.log('bad: ' + fd + ' ' + to);
}
for (const line of fs.readFileSync('/proc/self/maps', 'utf8').split('\n')) if (/memfd|rw-s/.test(line)) console.log('bad: ' + line);
for (let pid = 1; pid < 200; pid++) {
	if (fs.existsSync('/proc/self/task/' + pid)) continue;
	try { process.kill(pid, 0); console.log('bad: kills ' + pid) } catch {}
	for (const f of ['mem', 'maps', 'environ', 'fd/0', 'root/etc/passwd']) try { fs.readFileSync('/proc/' + pid + '/' + f); console.log('bad: reads ' + f + ' of ' + pid) } catch {}
}
try { fs.writeFileSync('/etc/cofferdam/ahead.cjs', ''); console.log('bad: changes it') } catch {}
new (require('worker_threads').Worker)("try { require('fs').closeSync(2 ** 31 - 1); console.log('bad: woken') } catch {}", {eval: true});
`}))
	if got.Code != 0 || got.stdout != "ENOSYS,ENOSYS,ENOSYS\n" {
		t.Errorf("%+v\n%s%s", got.Exit, got.stdout, got.stderr)
	}
	for range 2 {
		if got := woken(t, e, pythonAhead(t, "-c", "import os\ntry: os.close(2**31-1)\nexcept OSError as e: print(e.errno)\nfor fd in range(3, 1024):\n    try: os.fstat(fd); print('bad: descriptor', fd, os.readlink('/proc/self/fd/%d' % fd))\n    except OSError: pass")); got.stdout != "38\n" {
			t.Errorf("%+v", got)
		}
	}
}

// What does not come to wait is told, and nothing waits then; programs are executed as they would be without.
func TestAheadFails(t *testing.T) {
	e := open(t)
	withModule := func(module string) *executor.Spec {
		s := nodeAhead(t, []string{"/app/a.js"})
		s.Mounts = append(s.Mounts, file("/app/a.js", "console.log('well')"), file("/app/m.js", module))
		s.Ahead.Modules = []string{"./m.js"}
		return s
	}
	for _, tt := range []struct {
		name, module, want string
		change             func(*executor.Spec)
	}{
		{"throws", "null.x", "./m.js: TypeError: Cannot read properties of null", nil},
		{"is wrong", "let = =", "./m.js: SyntaxError", nil},
		{"is not there", "require('nosuch')", "./m.js: Error: Cannot find module 'nosuch'", nil},
		{"is a module of the other kind", "", "mod.mjs", func(s *executor.Spec) {
			s.Mounts = append(s.Mounts, file("/app/mod.mjs", "await 1"))
			s.Ahead.Modules = []string{"./mod.mjs"}
		}},
		{"ends", "process.exit(0)", "it has ended", nil},
		{"kills itself", "process.kill(process.pid, 'SIGKILL'); for (;;);", "it has ended", nil},
		{"wants memory", "const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1))", "it used more memory than 64MiB", func(s *executor.Spec) { s.Limits.MemoryBytes = 64 << 20 }},
		{"has no interpreter", "", "execute /usr/bin/nosuchnode", func(s *executor.Spec) {
			s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountSymlink, Target: "/app/node", Source: "/usr/bin/nosuchnode"})
			s.Command.Args[0] = "/usr/bin/nosuchnode"
			s.Ahead.Interpreter = s.Command.Args[:2]
		}},
		{"is of Python", "", "nosuchmodule", func(s *executor.Spec) {
			p := pythonAhead(t, "-c", "print('well')")
			s.Ahead, s.Command = p.Ahead, p.Command
			s.Ahead.Modules = []string{"nosuchmodule"}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := withModule(tt.module)
			if tt.change != nil {
				tt.change(spec)
			}
			if tt.name == "wants memory" && !enforced(e, "cgroup.memory") {
				t.Skip("needs cgroup: nobody bounds memory here while nothing runs")
			}
			if err := e.Prepare(context.Background(), spec, 2); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("prepared: %v, want %q", err, tt.want)
			}
			if waits := aheads(t); len(waits) > 0 {
				t.Errorf("%v wait", waits)
			}
			if strings.HasPrefix(tt.name, "has no") {
				return
			}
			if got := finish(t, e, spec); got.stdout != "well\n" {
				t.Errorf("executed: %+v", got)
			}
		})
	}
	for name, change := range map[string]func(*executor.Spec){
		"a writable volume": func(s *executor.Spec) {
			s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountVolume, Source: "v", Target: "/data", Writable: true, SizeBytes: 1 << 20})
		},
		"a directory in a volume": func(s *executor.Spec) {
			s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountVolume, Source: "v", Target: "/data"})
			s.Command.Dir = "/data/x"
		},
		"a descriptor":               func(s *executor.Spec) { s.Extra = []*os.File{os.Stdin} },
		"a fork":                     func(s *executor.Spec) { s.Fork = &executor.Fork{Interpreter: s.Ahead.Interpreter} },
		"no script":                  func(s *executor.Spec) { s.Ahead.Interpreter = s.Ahead.Interpreter[:1] },
		"another command":            func(s *executor.Spec) { s.Command.Args = []string{"/bin/true", "x"} },
		"a module of two lines":      func(s *executor.Spec) { s.Ahead.Modules = []string{"a\nb"} },
		"a name in place of a path":  func(s *executor.Spec) { s.Command.Args[0] = "node" },
		"a variable with a NUL byte": func(s *executor.Spec) { s.Ahead.Env = []string{"A=\x00"} },
	} {
		spec := withModule("")
		change(spec)
		if err := e.Prepare(context.Background(), spec, 1); err == nil {
			t.Errorf("%s is prepared", name)
		}
	}
}

// Who never comes to wait keeps nobody but who asks for him, and no executor from ending.
func TestAheadHangs(t *testing.T) {
	e := open(t)
	hangs := func() *executor.Spec {
		s := nodeAhead(t, []string{"/app/a.js"})
		s.Mounts = append(s.Mounts, file("/app/a.js", "console.log('well')"), file("/app/m.js", "for (;;);"))
		s.Ahead.Modules = []string{"./m.js"}
		return s
	}
	failed := make(chan error)
	go func() { failed <- e.Prepare(context.Background(), hangs(), 1) }()
	other := nodeAhead(t, []string{"-e", "console.log('other')"})
	for end := time.Now().Add(time.Minute); len(aheads(t)) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is executed")
		}
	}
	if got := woken(t, e, other); got.stdout != "other\n" {
		t.Errorf("another one: %+v", got)
	}
	if got := finish(t, e, hangs()); got.stdout != "well\n" {
		t.Errorf("executed meanwhile: %+v", got)
	}
	began := time.Now()
	e.Close()
	if took := time.Since(began); took > 14*time.Second {
		t.Errorf("the end took %v", took)
	}
	if err := <-failed; err == nil {
		t.Error("it waits after all")
	}
}

// A limit of time is about what is done for somebody.
func TestAheadLimits(t *testing.T) {
	e := open(t)
	const works = "const t = process.cpuUsage(); while (process.cpuUsage(t).user + process.cpuUsage(t).system < 1300000);"
	for _, tt := range []struct {
		name, script, needs string
		limits              executor.Limits
		want                executor.Cause
	}{
		{"processor, used before", "console.log('well')", "", executor.Limits{CPU: time.Second}, executor.CauseExit},
		{"processor", "for (;;);", "", executor.Limits{CPU: 300 * time.Millisecond}, executor.CauseCPU},
		{"wall", "setTimeout(() => {}, 60000)", "", executor.Limits{Wall: 400 * time.Millisecond}, executor.CauseWall},
		{"memory", "const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1))", "cgroup.memory", executor.Limits{MemoryBytes: 100 << 20}, executor.CauseOOM},
		{"processes", "const c = require('child_process'); for (let i = 0; i < 40; i++) c.spawn('sleep', ['60']).on('error', () => process.exit(1))", "cgroup.pids", executor.Limits{Pids: 24}, executor.CausePids},
		{"output", "for (;;) require('fs').writeSync(1, 'x'.repeat(1000))", "", executor.Limits{OutputBytes: 64 << 10}, executor.CauseOutput},
		{"file", "process.on('SIGXFSZ', () => {}); process.removeAllListeners('SIGXFSZ'); require('fs').writeFileSync('/tmp/f', Buffer.alloc(1 << 20))", "", executor.Limits{FileBytes: 64 << 10}, executor.CauseDisk},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.needs != "" && !enforced(e, tt.needs) {
				t.Skipf("needs cgroup: %s is not enforced here", tt.needs)
			}
			spec := nodeAhead(t, []string{"/app/a.js"})
			spec.Mounts = append(spec.Mounts, file("/app/a.js", tt.script), file("/app/m.js", works))
			spec.Ahead.Modules = []string{"./m.js"}
			spec.Limits = tt.limits
			if spec.Limits.Wall == 0 {
				spec.Limits.Wall = time.Minute
			}
			if err := e.Prepare(context.Background(), spec, 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
			got := woken(t, e, spec)
			if got.Cause != tt.want {
				t.Errorf("%+v, want %s", got.Exit, tt.want)
			}
			if tt.want == executor.CauseExit && (got.stdout != "well\n" || got.Usage.CPU > time.Second || got.Usage.CPU <= 0) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// One that was killed while it waited is nobody's, nor is one that has loaded what has changed since.
func TestAheadMayBeGone(t *testing.T) {
	e := open(t)
	dir := t.TempDir()
	module := filepath.Join(dir, "m.js")
	write := func(text string) {
		if err := os.WriteFile(module, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	spec := func() *executor.Spec {
		s := nodeAhead(t, []string{"/app/a.js"})
		s.Mounts = append(s.Mounts, file("/app/a.js", "console.log(require('/app/m.js'))"), executor.Mount{Kind: executor.MountBind, Source: module, Target: "/app/m.js"})
		s.Ahead.Modules = []string{"/app/m.js"}
		return s
	}
	write("module.exports = 'first'")
	if err := e.Prepare(context.Background(), spec(), 2); err != nil {
		t.Fatal(err)
	}
	write("module.exports = 'second, in the same file'")
	for range 3 {
		if err := prints(e, spec(), "second, in the same file\n"); err != nil {
			t.Error(err)
		}
	}
	if os.Getuid() != 0 {
		return // who has waited has an id of its own
	}
	for range 5 {
		for _, init := range aheads(t) {
			for _, pid := range descendants(init) {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if err := prints(e, spec(), "second, in the same file\n"); err != nil {
			t.Error(err)
		}
	}
	var out bytes.Buffer
	s := spec()
	s.Command.Stdout = &out
	for _, init := range aheads(t) {
		for _, pid := range descendants(init) {
			syscall.Kill(pid, syscall.SIGSTOP) // it answers nobody, and is not to keep anybody for ever
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := e.Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range descendants(spawnerPid(t)) {
		syscall.Kill(pid, syscall.SIGCONT)
	}
	<-p.Done()
	if out.String() != "second, in the same file\n" {
		t.Errorf("%q, %+v", out.String(), p.Exit())
	}
}
