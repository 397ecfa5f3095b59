"""Is the zygote that programs of Python are forked from; or one that waits to be a program itself (ahead).

The spawner starts an interpreter with this text in an environment of its own: it
imports the modules that it is told, and waits. For each use it makes one more
process, which waits too, and is then used once. That is in the pid namespace of an
environment that is being made, and a child of its init:

    zygote --clone--> a helper, for a moment --fork--> the program
                                          init --adopts--> the program

Told to, the program's process enters the environment and carries out a list of
system calls (internal/linux, whose children carry out the same), up to the filter of
system calls. Only then does it look at what it is to run. The zygote itself gets
nothing but sockets and namespaces, from the spawner alone.

Arguments: numbers of system calls and of namespaces, then modules.
Descriptors: 3 leads to the spawner.

Trusted: yes, up to the filter.
"""

import ctypes
import gc
import os
import signal
import socket
import struct
import sys

CONTROL = 255  # the number of the control socket in a fork
REPORT = struct.Struct("=6i3q")  # struct report of internal/linux
STARTED, FAILED, READY = 1, 2, 4
PROGRAM = 2  # the number of the stage there
HEAD = struct.Struct("=6I")
STEP = struct.Struct("=10Q")
WALL = 0x40000000
SHARED = 0x4100  # CLONE_VM and CLONE_VFORK

libc = ctypes.PyDLL(None, use_errno=True)
call = libc.syscall
call.restype = ctypes.c_long
call.argtypes = [ctypes.c_ulong] * 7
function = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
clone = libc.clone
clone.argtypes = [function, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]


class nr:
    """The numbers of this machine, from the spawner."""


def number(text):
    for pair in text.split(","):
        name, value = pair.split("=")
        setattr(nr, name, int(value))


def check(what, result):
    if result == -1:
        raise OSError(ctypes.get_errno(), what + ": " + os.strerror(ctypes.get_errno()))
    return result


def zygote():
    number(sys.argv[1])
    link = socket.socket(fileno=3)
    try:
        load(sys.argv[2:])
        check("hide from debuggers", libc.prctl(4, 0, 0, 0, 0))
        link.sendall(b"ready")
    except BaseException as e:
        link.sendall(("%s: %s" % (type(e).__name__, e)).encode()[:4096])
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    check("make a network", call(nr.unshare, nr.NEWNET, 0, 0, 0, 0, 0))  # one to come back to
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a helper that is dead waits for nobody
    own = {name: os.open("/proc/self/ns/" + name, os.O_RDONLY) for name in ("net", "pid")}
    rehearse()
    gc.disable()
    gc.collect()
    gc.freeze()
    serve(link, own, below())


def ahead():
    """Is an interpreter that is executed before its program is known, in the environment of that."""
    try:
        imports(sys.argv[2:])
        os.close((1 << 31) - 1)  # here it waits; see ahead.go
    except BaseException as e:
        sys.stderr.write("%s: %s" % (type(e).__name__, e))
        os._exit(1)
    with open(3, "rb") as f:
        count, text = f.read().split(b"\0", 1)
    words = text.split(b"\0")[:-1]
    pack = lambda list: b"".join(w + b"\0" for w in list)
    interpret(pack(words[: int(count)]), pack(words[int(count) :]))


def imports(modules):
    import importlib
    import importlib.util

    if sys.path[:1] == [""]:
        del sys.path[0]  # is for what -c runs, which is us; a program has its own, if any
    for name in modules:
        if not name.startswith("/"):
            importlib.import_module(name)
            continue
        stem = os.path.basename(name).removesuffix(".py")
        spec = importlib.util.spec_from_file_location(stem, name)
        module = importlib.util.module_from_spec(spec)
        sys.modules[stem] = module
        spec.loader.exec_module(module)


def load(modules):
    imports(modules)
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError("the modules have started %d threads, which no fork has" % (threads - 1))
    others = {p for p in os.listdir("/proc") if p.isdigit()} - {"1", str(os.getpid())}
    if others:
        raise RuntimeError("the modules have started %d processes, which are no fork's" % len(others))
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split(None, 5)
            # There is no file here that could be written to: what is still there under its name is only read.
            what = fields[5].strip() if len(fields) > 5 else "no file"
            if fields[1][3] == "s" and (fields[1][1] == "w" or not os.path.exists(what)):
                raise RuntimeError("the modules share memory (%s) that every fork could write to" % what)


PIECE = """
class C:
    def f(self, x=1):
        return [str(i) + "x" for i in range(x)]
try:
    print(C().f(3), {k: v for k, v in zip("ab", (1, 2.5))}, "%s" % None, f"{6*7}")
except Exception as e:
    print(e)
"""


def rehearse():
    """Does what forks do, with a piece of our own, until the interpreter has learnt how.

    It writes down what it learns in the code that it runs: pages that otherwise each
    fork would take a copy of, in order to learn the same.
    """
    main, path, before = sys.modules["__main__"], sys.path[:], vars(sys).copy()
    for _ in range(24):
        renew(dict(os.environb))
        program = Program(["-c", PIECE])
        program.run()
        flush()
        clear(vars(program.main))
    for name in vars(sys).keys() - before.keys():
        delattr(sys, name)
    vars(sys).update(before)
    sys.modules["__main__"], sys.path[:] = main, path


def below():
    """Is an address in our stack that is below all that was ever used of it."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            if line.endswith("[stack]\n"):
                return int(line.split("-")[0], 16) - (64 << 10)
    raise RuntimeError("there is no stack")


def serve(link, own, stack):
    """Makes a network for a message without descriptors, and a fork for any other one."""
    while True:
        message, fds, _, _ = socket.recv_fds(link, 64, 4)
        if not message:
            os._exit(0)
        code, out = 0, []
        try:
            if fds:
                fork(*fds, own, stack)
            else:
                out.append(network(own))
        except OSError as e:
            code = e.errno
        socket.send_fds(link, [struct.pack("=I", code)], out)
        for fd in fds + out:
            os.close(fd)


def network(own):
    check("make a network", call(nr.unshare, nr.NEWNET, 0, 0, 0, 0, 0))
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    check("come back", call(nr.setns, own["net"], nr.NEWNET, 0, 0, 0, 0))
    return fd


def fork(pidns, control, own, stack):
    """Makes a process in a pid namespace, as a child of its init."""
    # What a process makes that is in another pid namespace is an orphan there once that
    # process ends, and so a child of the init. It takes no copy of our memory, in which we
    # wait: that would be a second one.
    refused = []

    def helper(_):
        try:
            if os.fork() == 0:
                try:
                    wait(control)
                finally:
                    os._exit(127)
        except OSError as e:
            refused.append(e)
        return 0

    check("enter a pid namespace", call(nr.setns, pidns, nr.NEWPID, 0, 0, 0, 0))
    try:
        pid = check("clone", clone(function(helper), stack, SHARED | signal.SIGCHLD, None))
    finally:
        check("come back", call(nr.setns, own["pid"], nr.NEWPID, 0, 0, 0, 0))
    try:
        os.waitpid(pid, WALL)  # returns when it is dead
    except ChildProcessError:
        pass
    if refused:
        raise refused[0]


def sequences():
    """Registers what glibc has of restartable sequences: the kernel forgot it with the helper."""
    if os.uname().machine != "x86_64":
        return
    try:
        at = ctypes.c_ssize_t.in_dll(libc, "__rseq_offset").value
        size = ctypes.c_uint.in_dll(libc, "__rseq_size").value
    except ValueError:
        return  # an older one has none
    libc.pthread_self.restype = ctypes.c_ulong
    if size:
        call(nr.rseq, libc.pthread_self() + at, max(size, 32), 0, 0x53053053, 0, 0)


def run(steps, base):
    """Carries out steps. Returns the number and the errno of the first that fails, or -1."""
    for n, (nr, a, b, c, d, e, f, store, accept, load) in enumerate(steps):
        if load:
            args = [a, b, c, d, e, f]
            for i in range(6):
                if load >> i & 1:
                    args[i] = ctypes.c_int.from_address(base + args[i]).value & 0xFFFFFFFFFFFFFFFF
                elif load >> 8 + i & 1:
                    args[i] += base
            r = call(nr, *args)
        else:
            r = call(nr, a, b, c, d, e, f)
        if r == -1:
            code = ctypes.get_errno()
            if code != accept:
                return n, code
        if store:
            ctypes.c_int.from_address(base + store - 1).value = r & 0xFFFFFFFF if r < 0 else r
    return -1, 0


def wait(fd):
    """Is the whole life of a fork. It does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(fd, CONTROL)
    call(nr.close_range, 0, CONTROL - 1, 0, 0, 0, 0)
    call(nr.close_range, CONTROL + 1, 0xFFFFFFFF, 0, 0, 0, 0)
    sequences()
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, CONTROL)
    me = os.getpid()
    socket.send_fds(control, [REPORT.pack(READY, 0, 0, 0, me, 0, 0, 0, 0)], [os.pidfd_open(me)])
    os.close(0)
    message, fds, _, _ = socket.recv_fds(control, 8, 253)
    if not message:
        os._exit(0)  # the spawner has gone, or has no use for us
    control.detach()
    script = bytearray(os.pread(fds[-7], 1 << 24, 0))
    count, data, moves, args, env, keep = HEAD.unpack_from(script)
    at = HEAD.size
    end = at + STEP.size * count
    steps = list(STEP.iter_unpack(memoryview(script)[at:end]))
    place = struct.unpack_from("=%dI" % moves, script, end)
    end += 4 * moves
    text = bytes(memoryview(script)[end + data : end + data + args + env])
    base = ctypes.addressof(ctypes.c_char.from_buffer(script, end)) if data else 0
    for p in place:
        ctypes.c_uint64.from_address(base + p).value += base
    os.dup2(CONTROL, keep)  # the first that is not the program's; the steps leave it open
    step, code = run(steps, base)
    if step >= 0:
        os.write(keep, REPORT.pack(FAILED, PROGRAM, step, code, 0, 0, 0, 0, 0))
        os._exit(127)
    os.write(keep, REPORT.pack(STARTED, *[0] * 8))
    os.close(keep)
    ctypes.memset(base, 0, data)
    interpret(text[:args], text[args:])


def interpret(args, env):
    """Runs a program as a fresh interpreter would. Everything that is kept apart is so by now."""
    argv = [os.fsdecode(a) for a in args.split(b"\0")[:-1]]
    renew(dict(e.split(b"=", 1) for e in env.split(b"\0")[:-1]))
    before = set(sys.modules)
    program = Program(argv)
    finish(program.run(), before)


def renew(env):
    """Gives the process streams, variables and a source of randomness of its own."""
    if b"LC_CTYPE" in os.environb and not {b"LC_ALL", b"LC_CTYPE", b"LANG"} & env.keys():
        env[b"LC_CTYPE"] = os.environb[b"LC_CTYPE"]  # PEP 538
    for name in list(os.environb):
        if name not in env:
            del os.environb[name]
    os.environb.update(env)
    if b"TZ" in env:
        import time

        time.tzset()
    reading, writing = sys.stdin, sys.stdout
    for number, name, like in ((0, "stdin", reading), (1, "stdout", writing), (2, "stderr", sys.stderr)):
        setattr(sys, name, stream(number, name, like, writing))
        setattr(sys, "__%s__" % name, getattr(sys, name))
    # random has seeded itself anew in the fork. OpenSSL looks at the number of the
    # process, which is the same for all of them.
    if "_ssl" in sys.modules:
        sys.modules["_ssl"].RAND_add(os.urandom(48), 48.0)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if "multiprocessing.process" in sys.modules:
        sys.modules["multiprocessing.process"].current_process().authkey = os.urandom(32)
    gc.enable()


def stream(number, name, like, out):
    import io

    try:
        os.fstat(number)
    except OSError:
        return None
    raw = io.FileIO(number, "rb" if number == 0 else "wb", closefd=False)
    raw.name = "<%s>" % name
    tty = raw.isatty()
    unbuffered = out.write_through and number != 0
    buffer = raw if unbuffered else io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
    text = io.TextIOWrapper(
        buffer, like.encoding, like.errors, "\n" if number else None,
        line_buffering=not unbuffered and (tty or number == 2), write_through=unbuffered,
    )
    text.mode = "w" if number else "r"
    return text


class Program:
    """What the arguments of python3 mean, without those that the zygote was started with."""

    def __init__(self, argv):
        self.argv = argv

    def run(self):
        import types

        sys.orig_argv = sys.orig_argv[:1] + self.argv
        self.main = types.ModuleType("__main__")
        self.main.__builtins__ = sys.modules["builtins"]
        self.main.__annotations__ = {}
        self.main.__loader__ = sys.modules["_frozen_importlib"].BuiltinImporter
        sys.modules["__main__"], self.zygote = self.main, sys.modules["__main__"]
        kind = self.argv[0] if self.argv else "-"
        try:
            if kind == "-c":
                return self.code(self.argv[1], "<string>", ["-c"] + self.argv[2:], "")
            if kind == "-m":
                return self.module(self.argv[1], ["-m"] + self.argv[2:])
            if kind == "-":
                return self.code(sys.stdin.buffer.read(), "<stdin>", self.argv or [""], "")
            return self.file(kind, self.argv)
        except IndexError:
            sys.stderr.write(
                "Argument expected for the %s option\nusage: %s [option] ... [-c cmd | -m mod | file | -] [arg] ...\n"
                "Try `python -h' for more information.\n" % (kind, sys.executable)
            )
            return 2

    def path(self, first):
        if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
            sys.path.insert(0, first)

    def file(self, name, argv):
        try:
            if os.path.isdir(name):
                sys.argv = argv
                sys.path.insert(0, name)
                return self.guard(self.runpy, "__main__", False)
            with open(name, "rb") as f:
                source = f.read()
        except OSError as e:
            sys.stderr.write("%s: can't open file %r: [Errno %d] %s\n" % (sys.executable, os.path.abspath(name), e.errno, e.strerror))
            return 2
        return self.code(source, name, argv, os.path.dirname(os.path.realpath(name)))

    def module(self, name, argv):
        sys.argv = argv
        self.path(os.getcwd())
        return self.guard(self.runpy, name, True)

    def runpy(self, name, alter):
        import runpy

        runpy._run_module_as_main(name, alter)

    def code(self, source, name, argv, directory):
        sys.argv = argv
        self.path(directory)
        if name[:1] != "<":
            from importlib.machinery import SourceFileLoader

            self.main.__file__, self.main.__cached__ = name, None
            self.main.__loader__ = SourceFileLoader("__main__", name)
        return self.guard(self.execute, source, name)

    def execute(self, source, name):
        exec(compile(source, name, "exec", dont_inherit=True), self.main.__dict__)

    def guard(self, f, *args):
        """Is what becomes of an exception that nobody has caught."""
        try:
            f(*args)
            return 0
        except SystemExit as e:
            if e.code is None:
                return 0
            if isinstance(e.code, int):
                return e.code & 0xFF
            sys.stdout and sys.stdout.flush()
            print(e.code, file=sys.stderr)
            return 1
        except BaseException as e:
            trace = e.__traceback__
            for _ in range(2):  # those of this file
                trace = trace.tb_next if trace else None
            sys.last_type, sys.last_value, sys.last_traceback = type(e), e, trace
            try:
                sys.excepthook(type(e), e.with_traceback(trace), trace)
            except SystemExit as e:
                return e.code if isinstance(e.code, int) else 1
            return -signal.SIGINT if isinstance(e, KeyboardInterrupt) else 1
        finally:
            sys.last_type = sys.last_value = sys.last_traceback = None


def finish(status, before):
    """Ends as an interpreter does: threads, atexit, what modules hold, streams."""
    import atexit

    if "threading" in sys.modules:
        try:
            sys.modules["threading"]._shutdown()
        except BaseException:
            sys.excepthook(*sys.exc_info())
    atexit._run_exitfuncs()
    if not flush():
        status = 120
    modules = [m for name, m in list(sys.modules.items()) if name == "__main__" or name not in before]
    for module in modules:
        clear(getattr(module, "__dict__", {}))
    del modules
    gc.collect()
    if not flush() and status == 0:
        status = 120
    if status == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        status = 130
    os._exit(status)


def clear(names):
    for first in (True, False):
        for name in list(names):
            if name != "__builtins__" and first == (name[:1] == "_" and name[1:2] != "_"):
                names[name] = None


def flush():
    well = True
    for f in (sys.stdout, sys.stderr):
        try:
            if f is not None and not f.closed:
                f.flush()
        except BaseException:
            if f is sys.stdout:
                sys.excepthook(*sys.exc_info())
                well = False
    return well


if sys.argv[1] == "ahead":
    ahead()
else:
    zygote()
