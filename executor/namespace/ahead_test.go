package namespace_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

const node = "/usr/bin/node"

// nodeAhead is a spec of a script of Node.js that is executed ahead; more are arguments that only the
// program knows.
func nodeAhead(t testing.TB, command []string, more ...string) *executor.Spec {
	t.Helper()
	if _, err := os.Stat(node); err != nil {
		t.Skip("needs node: no /usr/bin/node on this host")
	}
	spec := host(slices.Concat([]string{node}, command, more)...)
	spec.Ahead = &executor.Ahead{Interpreter: spec.Command.Args[:1+len(command)], Env: path}
	return spec
}

// pythonAhead is one of Python.
func pythonAhead(t testing.TB, args ...string) *executor.Spec {
	spec := forked(t, args...)
	spec.Ahead = &executor.Ahead{Interpreter: spec.Fork.Interpreter, Env: path}
	spec.Fork = nil
	return spec
}

// file is a mount of a file.
func file(name, text string) executor.Mount {
	return executor.Mount{Kind: executor.MountFile, Target: name, Data: []byte(text)}
}

// aheads are the inits of environments in which an interpreter waits, or has waited.
func aheads(t testing.TB) (inits []int) {
	t.Helper()
	for _, pid := range descendants(spawnerPid(t)) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(line), "/etc/cofferdam/ahead.cjs\x00") || strings.Contains(string(line), "\x00ahead\x00") || strings.HasSuffix(string(line), "\x00ahead") {
			parent, _ := strconv.Atoi(status(pid, "PPid"))
			inits = append(inits, parent)
		}
	}
	return inits
}

// woken is finish for a program that is one that has waited.
func woken(t testing.TB, e *namespace.Executor, spec *executor.Spec) result {
	t.Helper()
	if err := e.Prepare(context.Background(), spec, 1); err != nil {
		t.Fatal(err)
	}
	before := aheads(t)
	got, init := finishAs(t, e, spec)
	if !slices.Contains(before, init) {
		t.Errorf("environment %d is none of those that have waited: %v", init, before)
	}
	if err := e.Prepare(context.Background(), spec, 0); err != nil {
		t.Error(err)
	}
	return got
}

// nodeBehaviours are scripts, and what Node.js does with them when it is executed is what it is to do when
// it was executed ahead.
var nodeBehaviours = []struct {
	name, stdin, script string
	command, more       []string
}{
	{name: "arguments", script: "console.log(process.argv, process.argv0, process.execPath, process.execArgv, process.title)", command: []string{"/app/a.js", "x"}, more: []string{"-y", "", "ä z"}},
	{name: "options", script: "console.log(process.execArgv, require('v8').getHeapStatistics().heap_size_limit >> 20)", command: []string{"--max-old-space-size=100", "--no-warnings", "/app/a.js"}},
	{name: "code", command: []string{"-e", "console.log(process.argv, process.execArgv, __filename, require.main === module, module.paths)", "a"}, more: []string{"b"}},
	{name: "prints", command: []string{"-p", "6*7 + process.argv[1]"}, more: []string{"b"}},
	{name: "code that throws", command: []string{"-e", "throw new Error('bad')"}},
	{name: "relative", script: "console.log(process.argv, process.cwd(), __filename, __dirname)", command: []string{"a.js"}},
	{name: "without its extension", script: "console.log(process.argv, __filename)", command: []string{"/app/a"}},
	{name: "main", script: "console.log(require.main === module, process.mainModule === module, module.id, module.parent, module.children, module.loaded, Object.keys(require.cache), module.paths)", command: []string{"/app/a.js"}},
	{name: "requires beside it", script: "console.log(require('./b.js'), require('/app/b'), require('lib'), require.resolve('lib/x'))", command: []string{"/app/a.js"}},
	{name: "globals", script: "console.log(Reflect.ownKeys(globalThis).map(String), Object.keys(process).sort(), Reflect.ownKeys(process).map(String).sort())", command: []string{"/app/a.js"}},
	{name: "variables", script: "console.log(process.env, Object.keys(process.env), require('child_process').execSync('echo $A; env').toString())", command: []string{"/app/a.js"}},
	{name: "time zone", script: "console.log(new Date(0).getHours(), new Date(0).toString(), Intl.DateTimeFormat().resolvedOptions().timeZone)", command: []string{"/app/a.js"}},
	{name: "standard input", script: "let t = ''; process.stdin.on('data', d => t += d).on('end', () => console.log(t.toUpperCase(), process.stdin.constructor.name))", stdin: "one\ntwo ä€\n", command: []string{"/app/a.js"}},
	{name: "standard input at once", script: "console.log(require('fs').readFileSync(0, 'utf8').length)", stdin: strings.Repeat("x", 200000), command: []string{"/app/a.js"}},
	{name: "lines", script: "require('readline').createInterface({input: process.stdin}).on('line', l => console.log('<' + l + '>')).on('close', () => console.log('closed'))", stdin: "a\nb\nc", command: []string{"/app/a.js"}},
	{name: "streams", script: "for (const s of [process.stdin, process.stdout, process.stderr]) console.log(s.fd, s.constructor.name, s.isTTY, s._type, s.writableHighWaterMark, s.readableFlowing)", command: []string{"/app/a.js"}},
	{name: "much output", script: "process.stdout.write('x'.repeat(300000)); console.error('y'.repeat(100000)); process.exitCode = 4", command: []string{"/app/a.js"}},
	{name: "exit with a number", script: "console.log('out'); process.exit(7)", command: []string{"/app/a.js"}},
	{name: "exit handlers", script: "process.on('exit', c => console.log('exit', c)); process.on('beforeExit', c => console.log('before', c)); process.exitCode = 3", command: []string{"/app/a.js"}},
	{name: "throws", script: "function f() {\n  throw new TypeError('bad')\n}\nf()", command: []string{"/app/a.js"}},
	{name: "throws a text", script: "throw 'a text'", command: []string{"/app/a.js"}},
	{name: "rejects", script: "Promise.reject(new Error('not handled'))", command: []string{"/app/a.js"}},
	{name: "throws later", script: "setTimeout(() => { throw new Error('later') }, 5)", command: []string{"/app/a.js"}},
	{name: "stack", script: "console.log(new Error('here').stack); process.nextTick(() => console.log(new Error('tick').stack)); setImmediate(() => console.log(new Error('immediate').stack))", command: []string{"/app/a.js"}},
	{name: "uncaught", script: "process.on('uncaughtException', (e, o) => console.log('caught', e.message, o)); setTimeout(() => console.log('goes on'), 5); nosuch()", command: []string{"/app/a.js"}},
	{name: "warning", script: "process.emitWarning('mind'); new Buffer(1)", command: []string{"/app/a.js"}},
	{name: "syntax", script: "let x = = 1", command: []string{"/app/a.js"}},
	{name: "not there", command: []string{"/app/nosuch.js"}},
	{name: "module that is not there", script: "require('nosuch')", command: []string{"/app/a.js"}},
	{name: "signal", script: "process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 9000)", command: []string{"/app/a.js"}},
	{name: "handler", script: "process.on('SIGUSR2', s => { console.log('handled', s); process.exit(2) }); process.kill(process.pid, 'SIGUSR2'); setTimeout(() => {}, 9000)", command: []string{"/app/a.js"}},
	{name: "abort", script: "process.abort()", command: []string{"/app/a.js"}},
	{name: "order", script: "setImmediate(() => console.log('immediate')); process.nextTick(() => console.log('tick')); Promise.resolve().then(() => console.log('promise')); queueMicrotask(() => console.log('micro')); console.log('body')", command: []string{"/app/a.js"}},
	{name: "module", script: "import fs from 'node:fs'; import { b } from './b.mjs'; console.log(b, import.meta.url, process.argv, typeof require, this, fs.existsSync('/app')); await 1; console.log('awaited')", command: []string{"/app/a.mjs"}, more: []string{"x"}},
	{name: "module that throws", script: "import './b.mjs'\nthrow new Error('bad')", command: []string{"/app/a.mjs"}},
	{name: "module that never ends", script: "await new Promise(() => {})", command: []string{"/app/a.mjs"}},
	{name: "module by its package", script: "import { b } from './b.mjs'; console.log(b, import.meta.filename)", command: []string{"/typed/a.js"}},
	{name: "module without an extension", script: "import { x } from 'lib/x.mjs'; console.log(x)", command: []string{"/app/a.mjs"}},
	{name: "import of what is not there", script: "import 'nosuch'", command: []string{"/app/a.mjs"}},
	{name: "import in a script", script: "import('./b.mjs').then(m => console.log(m.b))", command: []string{"/app/a.js"}},
	{name: "worker", script: "const w = require('worker_threads'); if (w.isMainThread) new w.Worker(__filename, {argv: ['q'], workerData: 5}).on('message', m => console.log(m)).on('exit', c => console.log('ended', c)); else w.parentPort.postMessage([w.workerData, process.argv, process.execArgv, Object.keys(require.cache), process.env.COFFERDAM_AHEAD])", command: []string{"/app/a.js"}, more: []string{"x"}},
	{name: "fork", script: "if (process.send) process.send(process.argv.concat(process.execArgv)); else require('child_process').fork(__filename, ['child']).on('message', m => console.log(m))", command: []string{"--no-warnings", "/app/a.js"}, more: []string{"x"}},
	{name: "children", script: "const c = require('child_process'); console.log(c.spawnSync('cat', {input: 'hello'}).stdout.toString(), c.spawnSync('sh', ['-c', 'exit 9']).status); c.spawnSync('sh', ['-c', 'cat; echo err >&2'], {stdio: 'inherit'})", stdin: "inherited", command: []string{"/app/a.js"}},
	{name: "ids", script: "const os = require('os'); console.log(process.pid, process.ppid, process.getuid(), process.getgroups(), os.hostname(), process.umask(), os.userInfo().uid, os.homedir(), os.availableParallelism(), process.constrainedMemory())", command: []string{"/app/a.js"}},
	{name: "files", script: "const fs = require('fs'); fs.writeFileSync('/tmp/f', 'kept'); fs.promises.readFile('/tmp/f', 'utf8').then(console.log); console.log(fs.readdirSync('/tmp'), fs.readdirSync('/'))", command: []string{"/app/a.js"}},
	{name: "sockets", script: "const net = require('net'); const s = net.createServer(c => c.end('hello')).listen(8000, '127.0.0.1', () => net.connect(8000, '127.0.0.1').on('data', d => { console.log(d.toString()); s.close() }))", command: []string{"/app/a.js"}},
	{name: "crypto", script: "console.log(require('crypto').createHash('sha256').update('x').digest('hex'), require('zlib').gunzipSync(require('zlib').gzipSync('y')).toString())", command: []string{"/app/a.js"}},
	{name: "status", script: "console.log(require('fs').readFileSync('/proc/self/status', 'utf8').split('\\n').filter(l => /^(Name|Umask|Groups|SigPnd|ShdPnd|SigBlk|SigIgn|SigCgt|Cap...|NoNewPrivs|Seccomp|Speculation_Store_Bypass|TracerPid):/.test(l)))", command: []string{"/app/a.js"}},
	{name: "descriptors", script: "const fs = require('fs'); for (const fd of [0, 1, 2]) try { console.log(fd, fs.fstatSync(fd).mode & 0o170000, fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').split('\\n')[1]) } catch (e) { console.log(e.code) }", command: []string{"/app/a.js"}},
}

// Node.js that was executed ahead does what it does when it is executed, word for word.
func TestNodeAheadBehaves(t *testing.T) {
	e := open(t)
	for _, tt := range nodeBehaviours {
		t.Run(tt.name, func(t *testing.T) {
			spec := func() *executor.Spec {
				s := nodeAhead(t, tt.command, tt.more...)
				s.Command.Env = append(s.Command.Env, "A=b", "TZ=Asia/Tokyo", "EMPTY=", "X=y=z", "NODE_ENV=test")
				s.Command.Dir = "/app"
				s.Command.Stdin = strings.NewReader(tt.stdin)
				s.Mounts = append(s.Mounts, file("/app/a.js", tt.script), file("/app/a.mjs", tt.script), file("/app/b.js", "module.exports = 'b'"), file("/app/b.mjs", "export const b = 'b'"),
					file("/app/node_modules/lib/package.json", `{"name": "lib", "main": "x.js"}`), file("/app/node_modules/lib/x.js", "module.exports = 'lib'"), file("/app/node_modules/lib/x.mjs", "export const x = 'x'"),
					file("/typed/package.json", `{"type": "module"}`), file("/typed/a.js", tt.script), file("/typed/b.mjs", "export const b = 'b'"))
				return s
			}
			alike(t, finish(t, e, spec()), woken(t, e, spec()))
		})
	}
}

// alike compares a program that was executed with one that was executed ahead.
func alike(t *testing.T, want, got result) {
	t.Helper()
	if got.Cause != want.Cause || got.Code != want.Code || got.Signal != want.Signal {
		t.Errorf("ahead: %+v\nexecuted: %+v", got.Exit, want.Exit)
	}
	if got.stdout != want.stdout || got.stderr != want.stderr {
		t.Errorf("ahead:\n%s%s\nexecuted:\n%s%s", got.stdout, got.stderr, want.stdout, want.stderr)
	}
}

// So does Python.
func TestPythonAheadBehaves(t *testing.T) {
	e := open(t)
	for _, tt := range behaviours {
		if tt.name == "status" {
			continue // there is one filter more, and the name of a process is that of its file
		}
		t.Run(tt.name, func(t *testing.T) {
			spec := func() *executor.Spec { return tt.spec(pythonAhead(t, tt.args...)) }
			alike(t, finish(t, e, spec()), woken(t, e, spec()))
		})
	}
}

// What was executed ahead has clocks that are right.
func TestAheadKnowsTheTime(t *testing.T) {
	e := open(t)
	spec := nodeAhead(t, []string{"-e", "const t = Date.now(); setTimeout(() => console.log(Date.now() - t >= 290), 300)"})
	if err := e.Prepare(context.Background(), spec, 1); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if got := woken(t, e, spec); got.stdout != "true\n" {
		t.Errorf("%+v", got)
	}
}
