package zoobar_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/zoobartest"
)

// author is an owner whose profiles somebody else looks at.
type author struct {
	t              *testing.T
	name           string
	owner, visitor *zoobartest.Browser
}

func (s *site) author(t *testing.T, name string) *author {
	t.Helper()
	a := &author{t: t, name: name, owner: zoobartest.NewBrowser(t, s.URL), visitor: s.visitor}
	a.owner.Register(name, "pass")
	return a
}

var profileDiv = regexp.MustCompile(`(?s)<div id="profile"><b>(.*?)</b></div>\n<p>Zoobars:`)

// output saves a program, looks at it, and returns what it printed.
func (a *author) output(program string) string {
	a.t.Helper()
	a.owner.SaveProfile("#!python\n" + program)
	return a.look()
}

func (a *author) look() string {
	a.t.Helper()
	page := a.visitor.View(a.name)
	zoobartest.NotContains(a.t, page, "Traceback")
	zoobartest.NotContains(a.t, page, "Exception:")
	m := profileDiv.FindStringSubmatch(page)
	if m == nil {
		a.t.Fatalf("no profile in %s", page)
	}
	return m[1]
}

// testProfiles tries the ways out that the original sandbox left open, by their
// numbers in the list of its gaps, and what a hostile profile would try besides.
func (s *site) testProfiles(t *testing.T) {
	s.visitor = zoobartest.NewBrowser(t, s.URL)
	s.visitor.Login("test2", "pass")
	s.testInside(t)
	s.testHarmless(t)
	s.testBounds(t)
	s.testSlow(t)
	s.testTogether(t)
	s.testState(t)
	s.testVisits(t)
	s.checkBooks(t)
}

// testInside runs programs that say "bad" about what they can do.
func (s *site) testInside(t *testing.T) {
	a := s.author(t, "inside")
	for _, tt := range []struct{ name, program string }{
		{"0 is a fork that nobody was in before", `
import sys, os, random, uuid, builtins
if 'sqlite3' not in sys.modules: print('bad: is no fork')
for path in ('/tmp/drawn', '/data/drawn'):
    drawn = [random.random(), str(uuid.uuid4())]
    try:
        if str(drawn[0]) in open(path).read(): print('bad: draws the same')
    except OSError: pass
    open(path, 'a').write(str(drawn))
if hasattr(builtins, 'mark') or 'mark' in os.environ or os.path.getsize('/tmp/drawn') > 70: print('bad: finds a mark')
builtins.mark = os.environ['mark'] = 'here'
`},
		{"0 and once more", `
import sys, os, random, uuid, builtins
if hasattr(builtins, 'mark') or 'mark' in os.environ or os.path.exists('/tmp/drawn'): print('bad: finds a mark')
drawn = [random.random(), str(uuid.uuid4())]
if str(drawn[0]) in open('/data/drawn').read(): print('bad: draws the same')
os.remove('/data/drawn')
`},
		{"1 groups and privileges", `
status = dict(l.rstrip('\n').split(':\t', 1) for l in open('/proc/self/status') if ':\t' in l)
if status['Groups'].strip(): print('bad: groups', status['Groups'])
for name in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb'):
    if int(status[name], 16): print('bad:', name, status[name])
if status['NoNewPrivs'] != '1': print('bad: new privileges')
if status['Seccomp'] != '2': print('bad: no filter')
import os
for call in (lambda: os.setuid(0), lambda: os.setgroups([0])):
    try:
        call(); print('bad: changed identity')
    except OSError: pass
`},
		{"2 descriptors", `
import os
for fd in os.listdir('/proc/self/fd'):
    try: target = os.readlink('/proc/self/fd/' + fd)
    except OSError: continue
    if int(fd) > 2 and not target.startswith('/proc/'): print('bad: fd', fd, target)
`},
		{"3 other processes", `
import os
others = [p for p in os.listdir('/proc') if p.isdigit() and int(p) not in (1, os.getpid())]
if others: print('bad: sees', others)
for path in ('/proc/1/mem', '/proc/1/environ', '/proc/kcore', '/proc/1/root/etc/shadow', '/proc/sysrq-trigger'):
    try:
        f = open(path, 'rb'); f.read(1); print('bad: reads', path)
    except OSError: pass
for k, v in os.environ.items():
    if k not in ('PATH', 'HOME', 'LANG', 'LC_CTYPE', 'PWD') and not k.startswith('COFFERDAM_'): print('bad: knows', k)
`},
		{"files of the host", `
import os
for path in ('/root', '/home', '/work', '/var/lib', '/etc/shadow', '/etc/passwd', '/zoobar/media/zoobar.css', '/srv', '/app', '/sys/kernel'):
    try:
        if os.path.isdir(path): os.listdir(path)
        else: open(path).close()
        if path != '/etc/passwd' or 'root:x:0:0:root:/root:/bin/bash' in open(path).read(): print('bad: reads', path)
    except OSError: pass
for path in ('/testfile', '/lib/testfile', '/usr/testfile', '/zoobar/testfile', '/run/testfile', '/etc/testfile', '/run/profile.py', '/zoobar/api.py'):
    try: open(path, 'a').write('x'); print('bad: writes', path)
    except OSError: pass
`},
		{"network", `
import socket
for family, address in ((socket.AF_INET, ('127.0.0.1', GATEWAY)), (socket.AF_INET, ('1.1.1.1', 53)), (socket.AF_INET, ('10.0.0.1', 80))):
    s = socket.socket(family, socket.SOCK_STREAM); s.settimeout(0.3)
    try: s.connect(address); print('bad: connects to', address)
    except OSError: pass
for name in ('bank', 'auth', 'dynamic', 'example.com'):
    try: print('bad: resolves', name, socket.gethostbyname(name))
    except OSError: pass
for family in (getattr(socket, 'AF_NETLINK', 16), getattr(socket, 'AF_PACKET', 17), 40):
    try: socket.socket(family, socket.SOCK_RAW); print('bad: family', family)
    except OSError: pass
`},
		{"9 system calls", `
import os
try:
    if os.fork() == 0: os._exit(0)
    print('bad: forks')
except OSError: pass
import threading
try: threading.Thread(target=print).start(); print('bad: starts a thread')
except (RuntimeError, OSError): pass
try:
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    for name, args in (('unshare', (0x10000000,)), ('unshare', (0x40000000,)), ('ptrace', (16, 1, 0, 0)),
                       ('mount', (b'none', b'/tmp', b'tmpfs', 0, 0)), ('setns', (0, 0)), ('chroot', (b'/data',)), ('kill', (1, 9))):
        if getattr(libc, name)(*args) == 0: print('bad:', name)
except (ImportError, OSError): pass
`},
		{"12 whose behalf", `
import cofferdam
for name in ('profile.run', 'bank.transfer', 'bank.register', 'bank.balance', 'bank.get_log', 'auth.login', 'auth.register',
             'auth.check_token', 'store.get_profile', 'store.set_profile', 'echo.echo', 'bank.nothing', 'nobody.nothing'):
    try: print('bad:', name, cofferdam.call_json(name, {}))
    except cofferdam.Denied as e: pass
for args in ({'target': 'inside', 'zoobars': 1, 'owner': 'test2'}, {'target': 'inside', 'zoobars': -5}, {'target': 'inside', 'zoobars': 1},
             {'target': 'test2', 'zoobars': 11}, {'target': 'nobody', 'zoobars': 1}, {'target': 'test2', 'zoobars': 1.5}):
    try: print('bad: give', args, cofferdam.call_json('bank.give', args))
    except cofferdam.Error: pass
try: cofferdam.spawn('sandbox'); print('bad: spawns')
except cofferdam.Denied: pass
if api.call('get_self') != 'inside' or api.call('get_visitor') != 'test2': print('bad: runs for', api.call('get_self'))
`},
		{"who others are", `
import api as imported
if imported.call('get_user_info', username='test2')['username'] != 'test2': print('bad: another user')
if not imported.call('get_user_info', username='test1')['profile'].startswith('#!python'): print('bad: not the profile of test1')
if imported.call('get_user_info', username='nobody') is not None: print('bad: knows nobody')
if imported.call('get_xfers', username='nobody') != []: print('bad: log of nobody')
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a.t = t
			port := s.URL[strings.LastIndexByte(s.URL, ':')+1:]
			out := a.output(strings.ReplaceAll(tt.program, "GATEWAY", port) + "\nprint('finished')\n")
			if strings.TrimSpace(out) != "finished" {
				t.Errorf("the program printed:\n%s", out)
			}
		})
	}
}

// testHarmless writes nonsense to the monitor, as fast as it can.
func (s *site) testHarmless(t *testing.T) {
	a := s.author(t, "hostile")
	for _, tt := range []struct{ name, program string }{
		{"4 raw bytes", `
import os, socket
for junk in (b'["get_self", {}]\n' * 100, b'\xff' * 100000, b'\x00' * 31, b'', os.urandom(4096)):
    s = socket.socket(socket.AF_UNIX); s.settimeout(0.5)
    try:
        s.connect(os.environ['COFFERDAM_SOCKET'])
        s.sendall(junk); s.recv(1000)
    except OSError: pass
`},
		{"4 many connections", `
import os, socket
held = []
try:
    for i in range(500):
        s = socket.socket(socket.AF_UNIX); s.settimeout(0.5); s.connect(os.environ['COFFERDAM_SOCKET']); held.append(s)
except OSError: pass
for s in held: s.close()
`},
		{"4 many calls", `
import time
end = time.time() + 1
while time.time() < end: api.call('get_self')
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a.t = t
			if out := a.output("print('begun')" + tt.program); !strings.Contains(out, "begun") {
				t.Errorf("the program printed %q", out)
			}
			if out := a.output("print('Hello,', api.call('get_visitor'))"); strings.TrimSpace(out) != "Hello, test2" {
				t.Errorf("the next one printed %q", out)
			}
		})
	}
}

// testBounds runs programs that want more of something than there is.
func (s *site) testBounds(t *testing.T) {
	a := s.author(t, "greedy")
	for _, tt := range []struct{ name, program, want string }{
		{"5 memory", "print('before')\nx = []\nwhile True: x.append(bytearray(1 << 20))", "before"},
		{"5 file size", `
import os
try:
    f = open('big', 'wb', 0)
    for i in range(64): f.write(bytes(1 << 20))
    print('bad: wrote 64 MiB')
except OSError: print('no room')
os.remove('big') # for it fills the volume, and the next run shall have room`, "no room"},
		{"6 no text", "import sys\nsys.stdout.buffer.write(b'a\\xff\\xfeb')\nprint('\\ud800')", "a\uFFFDb?"},
		{"11 exceptions", "print('before')\nraise Exception('secret detail')", "before"},
		{"syntax", "print('never'", ""},
		{"exit", "import sys\nprint('before')\nsys.exit(3)", "before"},
		{"carriage returns", "print('a')\nif True:\n    print('b')", "a\nb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a.t = t
			out := strings.TrimSpace(a.output(tt.program))
			if out != tt.want {
				t.Errorf("the program printed %.200q, want %q", out, tt.want)
			}
		})
	}
	t.Run("5 output", func(t *testing.T) {
		a.t = t
		begun := time.Now()
		out := a.output("while True: print('x' * 1000)")
		if len(out) == 0 || len(out) > calls.MaxOutputBytes+1000 {
			t.Errorf("the page has %d bytes of output", len(out))
		}
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("5 space", func(t *testing.T) {
		// The quota of a volume is watched, not a wall: it ends who goes on writing.
		out := s.author(t, "hoarder").output(`
import time
print('before')
for i in range(100):
    with open('f%d' % i, 'wb') as f: f.write(bytes(64 << 10))
    time.sleep(0.02)
print('bad: wrote it all')`)
		if strings.TrimSpace(out) != "before" {
			t.Errorf("the program printed %q", out)
		}
	})
	a.t = t
	if out := a.output("print('still here')"); strings.TrimSpace(out) != "still here" {
		t.Errorf("afterwards a program printed %q", out)
	}
}

// testSlow lets programs run into the clock.
func (s *site) testSlow(t *testing.T) {
	a := s.author(t, "slow")
	t.Run("8 output before the kill", func(t *testing.T) {
		a.t = t
		begun := time.Now()
		out := a.output("print('prior', end='')\nwhile True: pass")
		if took := time.Since(begun); took < 4900*time.Millisecond || took > 20*time.Second {
			t.Errorf("an endless program ended after %v, want 5 s", took)
		}
		if out != "prior" {
			t.Errorf("it printed %q, want %q", out, "prior")
		}
	})
	t.Run("7 others do not wait", func(t *testing.T) {
		a.t = t
		quick := s.author(t, "quick")
		quick.owner.SaveProfile("#!python\nprint('quick')")
		a.owner.SaveProfile("#!python\nimport time\ntime.sleep(60)")
		var wg sync.WaitGroup
		for i := range 3 {
			viewer := zoobartest.NewBrowser(t, s.URL)
			viewer.Register(fmt.Sprint("viewer", i), "pass")
			wg.Go(func() {
				if _, err := viewer.TryGet("/users?user=slow"); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(500 * time.Millisecond) // they are all waiting for a slow program
		begun := time.Now()
		if out := quick.look(); strings.TrimSpace(out) != "quick" {
			t.Errorf("the quick program printed %q", out)
		}
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("a quick program took %v while slow ones were running", took)
		}
		wg.Wait()
	})
}

// testTogether looks at slow profiles of several owners at once.
func (s *site) testTogether(t *testing.T) {
	t.Run("7 several at a time", func(t *testing.T) {
		names := []string{"together1", "together2", "together3", "together4"}
		for _, name := range names {
			s.author(t, name).owner.SaveProfile("#!python\nimport time\ntime.sleep(1.5)\nprint('done')")
		}
		begun := time.Now()
		var wg sync.WaitGroup
		for _, name := range names {
			wg.Go(func() {
				page, err := s.visitor.TryGet("/users?user=" + name)
				if err != nil || !strings.Contains(page, "done") {
					t.Errorf("%s: %v\n%s", name, err, page)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("four runs of 1.5 s took %v: they waited for each other", took)
		}
	})
}

// testState keeps files of owners apart whose names look alike.
func (s *site) testState(t *testing.T) {
	const write = "open('secret', 'w').write('of ' + api.call('get_self'))\nprint('SUCCESS')"
	const read = `
import os
for path in ('secret', '/data/secret', '../secret', '../../secret', '../data/secret'):
    try:
        text = open(path).read()
        if text != 'of ' + api.call('get_self'): print('bad:', path, text)
    except OSError: pass
print(sorted(os.listdir('/data')))`
	s.author(t, "keeper").output(write)
	for _, name := range []string{"keeper/.", "keeper/", "../keeper", "KEEPER", "keeper ", "???", "keeper\u0301"} {
		t.Run(name, func(t *testing.T) {
			if out := strings.TrimSpace(s.author(t, name).output(read)); out != "[]" {
				t.Errorf("%q finds %s", name, out)
			}
		})
	}
}

// testVisits draws who visits whom, and tries to make it up.
func (s *site) testVisits(t *testing.T) {
	a, b := s.author(t, "drawn<b>"), s.author(t, "other drawn")
	b.visitor = a.owner
	b.owner.SaveProfile(zoobartest.Profile(t, "visit-graph"))
	b.look()
	c := s.author(t, "third")
	c.owner.View("drawn<b>") // shows no program yet, which is no visit
	a.owner.SaveProfile(zoobartest.Profile(t, "visit-graph"))
	c.owner.View("drawn<b>")
	b.owner.View("drawn<b>")
	a.look()
	out := a.look() // test2, for the second time
	for _, want := range []string{"<svg ", ">drawn&lt;b&gt;</text>", ">test2</text>", ">third</text>", ">other d…</text>"} {
		if !strings.Contains(out, want) {
			t.Errorf("the picture has no %s: %s", want, out)
		}
	}
	// drawn's visitors test2 (twice), third and other; other shares who visits it: drawn.
	if n := strings.Count(out, "<line "); n != 4 {
		t.Errorf("%d lines, want 4: %s", n, out)
	}
	forged := a.output(`
import cofferdam
for call, args in (('visits.note', {'owner': 'test2', 'visitor': 'test1'}), ('visits.get', {'owner': 'test2'})):
    try:
        print('bad:', call, cofferdam.call_json(call, args))
    except Exception: pass
print(len(api.call('get_visits')))`)
	if strings.TrimSpace(forged) != "4" {
		t.Errorf("a program that makes visits up: %s", forged)
	}
}
