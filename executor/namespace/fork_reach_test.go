package namespace_test

import (
	"strings"
	"testing"
)

// grasp is a program's: what belongs to the user namespace that encloses its own is nothing it has
// any right to, and nothing of the interpreter or of the making of the fork is left with it.
const grasp = `
import ctypes, errno, fcntl, os, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
NS_USERNS, NS_PARENT = 0xb701, 0xb702
for ns in sorted(os.listdir('/proc/self/ns')):
    try: fd = os.open('/proc/self/ns/' + ns, os.O_RDONLY)
    except OSError: continue
    for ask in NS_USERNS, NS_PARENT:
        try:
            got = fcntl.ioctl(fd, ask)
            if os.stat(got).st_ino != os.stat('/proc/self/ns/user').st_ino: print('bad: ioctl', hex(ask), ns)
        except OSError: pass
    for kind in 0, 0x40000000, 0x10000000:
        if libc.setns(fd, kind) == 0: print('bad: setns', ns, kind)
    os.close(fd)
for kind in 0x40000000, 0x10000000, 0x20000000, 0x20000, 0x8000000, 0x4000000, 0x2000000:
    if libc.unshare(kind) == 0: print('bad: unshare', hex(kind))
if libc.syscall(434, 1, 0) >= 0:
    fd = libc.syscall(434, 1, 0)
    if libc.setns(fd, 0x20000) == 0 or libc.setns(fd, 0x10000000) == 0: print('bad: setns of the init')
# the network is of the enclosing user namespace
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for ask, what in ((0x8914, b'lo' + bytes(14) + struct.pack('h', 0)), (0x8916, b'lo' + bytes(14) + struct.pack('=hH4s', 2, 0, bytes((127, 0, 0, 2)))), (0x8922, b'lo' + bytes(14) + struct.pack('i', 1000))):
    try: fcntl.ioctl(s, ask, what + bytes(40 - len(what))); print('bad: ioctl of lo', hex(ask))
    except OSError: pass
for family, kind, proto in ((socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_PACKET, socket.SOCK_RAW, 3), (16, 3, 0), (16, 3, 12)):
    try: socket.socket(family, kind, proto); print('bad: socket', family, kind, proto)
    except OSError: pass
try: s.setsockopt(socket.SOL_SOCKET, 33, 1 << 20); print('bad: SO_RCVBUFFORCE')
except OSError: pass
# leftovers
status = dict(l.rstrip('\n').split(':\t', 1) for l in open('/proc/self/status') if ':\t' in l)
if os.getresuid() != (1000,) * 3 or os.getresgid() != (1000,) * 3: print('bad: ids', os.getresuid(), os.getresgid())
if SINGLE == 0 and os.getgroups(): print('bad: groups', os.getgroups())
if libc.prctl(27, 0, 0, 0, 0) != 0: print('bad: securebits', libc.prctl(27, 0, 0, 0, 0))
for n in 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb':
    if int(status[n], 16): print('bad:', n, status[n])
if libc.prctl(36, 0, 0, 0, 0) == 0: pass # only for its own children
if signal.setitimer(signal.ITIMER_REAL, 0) != (0.0, 0.0): print('bad: a timer')
if signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL: print('bad: SIGCHLD')
pdeath = ctypes.c_int(); libc.prctl(2, ctypes.byref(pdeath), 0, 0, 0)
if pdeath.value: print('bad: a death signal', pdeath.value)
import resource
if resource.getrlimit(resource.RLIMIT_CORE) != (1, 1): print('bad: core files')
for line in open('/proc/self/maps'):
    f = line.split()
    if f[1][1:4:2] == 'ws': print('bad: shared memory', line)
    if 'memfd' in line: print('bad: the script', line)
# what it says of itself by exe is a file, and no way into another tree
fd = os.open('/proc/self/exe', os.O_RDONLY)
try: os.open('..', os.O_RDONLY, dir_fd=fd); print('bad: beside exe')
except OSError: pass
try: os.open('/proc/self/exe', os.O_RDWR); print('bad: writes exe')
except OSError: pass
if os.stat('/').st_ino != os.stat('/proc/self/root').st_ino or os.stat('..', dir_fd=os.open('/', os.O_RDONLY)).st_ino != os.stat('/').st_ino: print('bad: another root')
# everybody it can see
for pid in [-1] + list(range(1, 300)):
    if pid == os.getpid(): continue
    try: os.kill(pid, signal.SIGSTOP); print('bad: stops', pid)
    except OSError: pass
print('well')
`

func TestForkGrasps(t *testing.T) {
	e := open(t)
	single := "SINGLE = 0\n"
	if !enforced(e, "uid-range") {
		single = "SINGLE = 1\n"
	}
	for range 4 { // whose networks were others' before
		got := finish(t, e, forked(t, "-c", single+grasp))
		if got.Code != 0 || got.stdout != "well\n" || strings.Contains(got.stdout, "bad") {
			t.Errorf("%+v\n%s%s", got.Exit, got.stdout, got.stderr)
		}
	}
}
