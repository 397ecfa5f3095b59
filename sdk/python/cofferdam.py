"""What a Python application imports: all that it can ask of the monitor.

    import cofferdam
    balance = cofferdam.call_json("bank.balance", {"username": "alice"})

    with cofferdam.connect() as client:
        client.serve({"echo": lambda caller, body: body})

    me = cofferdam.labels()
    cofferdam.mailbox("letters").post(b"for alice", out="bob")

Who we are, the monitor knows from the socket; who calls us, it says with every
request. Names, order and meaning are those of the Go package sdk; the format is
that of the Go package wire, and both are held to wire/testdata/vectors.json.

One file, standard library only, Python 3.9 or later. What has to do with labels is in
another, cofferdam_labels.py, which is read when it is first used: all of it is found here,
and its methods are those of Client. It starts no thread and no process. A Client is for
one thread at a time; each thread can have its own.

Trusted: no. It runs inside, and is as trustworthy as the program around it.
"""

import os
import struct
import time

try:
    # The class behind socket.socket. The module socket around it takes longer to
    # import than everything else here together, at every start of a sandbox.
    import _socket as socket
except ImportError:
    import socket

SOCKET_VARIABLE = "COFFERDAM_SOCKET"

# Bounds, as in wire/wire.go, wire/identity.go, wire/exit.go, wire/share.go, wire/ask.go and sdk/serve.go.
HEADER_SIZE = 32
MAX_NAME = 128
MAX_CALLER = 1 << 10
MAX_BODY = 1 << 20
MAX_FIELDS = 1024
MAX_SERVICE = 64
MAX_INSTANCE = 64
MAX_PRINCIPAL = 256
MAX_BOUND = 512
MAX_PATH = 1 << 10
MAX_CLIENT = 256
MAX_CAUSE = 32
MAX_LIMIT = 128
MAX_DETAIL = 1 << 10
MAX_MESSAGE = 4 << 10
MAX_QUEUE = 1024
MAX_QUEUED_BYTES = 16 << 20
MAX_TIMEOUT_MS = (1 << 32) - 1
MAX_HANDLES = 16
MAX_TURNS = 256


# Errors


class Error(Exception):
    """How a call or a spawn can end other than well: one subclass for each code.

    message is what the other side said beyond the code, at most MAX_MESSAGE
    bytes; request is what failed, like "call bank.balance", or None if the error
    was not the end of a request. retry_after: of Limited, how many seconds to wait
    until the same request is within the rate, unless others are faster; otherwise 0.
    """

    code = 0
    word = "error"
    retry_after = 0

    def __init__(self, message="", request=None):
        super().__init__(message)
        self.message = message
        self.request = request

    def __str__(self):
        return ": ".join(filter(None, (self.request, self.word, self.message)))


def _error(name, code, word, doc):
    return type(name, (Error,), {"code": code, "word": word, "__doc__": doc, "__module__": __name__})


Denied = _error("Denied", 1, "denied", "Not granted, or not there: no way to tell.")
Unavailable = _error("Unavailable", 2, "unavailable", "No instance answered in time, or there is no connection: nothing was done.")
Broken = _error("Broken", 3, "broken", "The service has crashed too often.")
Deadline = _error("Deadline", 4, "deadline", "Too late; the work may or may not have been done.")
Canceled = _error("Canceled", 5, "canceled", "Withdrawn; the work may or may not have been done.")
TooLarge = _error("TooLarge", 6, "too large", "Request or reply beyond MAX_BODY.")
Busy = _error("Busy", 7, "busy", "A queue is full: try later.")
Malformed = _error("Malformed", 8, "malformed", "The request, or what came from the monitor, makes no sense.")
Failed = _error("Failed", 9, "failed", "The server's own error, in its words; trust them as you trust the server.")
Interrupted = _error("Interrupted", 10, "interrupted", "The instance or the connection died; the work may or may not have been done.")
LabelError = _error("LabelError", 11, "forbidden by a label", "Forbidden by labels: message says which, and what would allow it.")
Withheld = _error("Withheld", 12, "withheld", "There is a result, and its label is above the one that was agreed on.")
Empty = _error("Empty", 13, "empty", "Nothing was there within the time.")
Limited = _error("Limited", 14, "limited", "A rate of the manifest is used up: nothing was done, and retry_after says when to try again.")
_ERRORS = {e.code: e for e in Error.__subclasses__()}
_GONE = "connection to the monitor has ended"


# What crosses the border


class Identity:
    """Who an environment is: service, instance, principal (str) and bound (bytes)."""

    __slots__ = ("service", "instance", "principal", "bound")

    def __init__(self, service, instance="", principal="", bound=b""):
        self.service = service
        self.instance = instance
        self.principal = principal
        self.bound = bound

    def __repr__(self):
        return "Identity(%r, %r, %r, %r)" % (self.service, self.instance, self.principal, self.bound)


class Caller(Identity):
    """Who sent a request.

    call is the call's number among those of its method, the same if it is repeated;
    deadline is when the request ends on the clock time.monotonic(), or None.
    label: of the request. shown: a privilege that the caller has and describes
    to us. handles: those that came with the request, until the handler returns, unless
    it says keep(). give(*handles) and give_away(*handles) send some with the reply, of
    which we keep ours or not.
    """

    __slots__ = ("call", "deadline", "label", "shown", "handles", "_client", "_told", "_kept", "_given", "_away")

    def __getattr__(self, name):
        # label, shown, handles; keep(), give(), give_away()
        return _labels().of_caller(self, name)


class Exit:
    """How a spawned instance ended.

    stdout, stderr: bytes, what was captured. cause: "exit", "wall", "oom", ….
    code: exit status, 128+n for signal n. limit, detail: the limit that fired
    and one sentence, or "". wall, cpu: seconds. memory: peak in bytes.
    """

    __slots__ = ("stdout", "stderr", "cause", "code", "limit", "detail", "wall", "cpu", "memory")

    def __init__(self):
        self.stdout = self.stderr = b""
        self.cause = self.limit = self.detail = ""
        self.code = self.memory = 0
        self.wall = self.cpu = 0.0

    def __repr__(self):
        return "Exit(cause=%r, code=%r, limit=%r, detail=%r)" % (self.cause, self.code, self.limit, self.detail)


class Turn:
    """A request of ours that waits for others to end: see Client.turns().

    name: service.method, a template, or service:port. principal: for whom, or "".
    place, of: which one it is of how many; the first is 1.
    """

    __slots__ = ("name", "principal", "place", "of")

    def __init__(self, name, principal, place, of):
        self.name = name
        self.principal = principal
        self.place = place
        self.of = of

    def __repr__(self):
        return "Turn(%r, %r, %r, %r)" % (self.name, self.principal, self.place, self.of)


# Client


def connect():
    """Connects to the monitor of the environment that the program runs in.

    Raises Unavailable if COFFERDAM_SOCKET is not set (then it runs in none) or
    nobody answers there.
    """
    path = os.environ.get(SOCKET_VARIABLE)
    if not path:
        raise Unavailable(SOCKET_VARIABLE + " is not set: not inside an environment")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError as e:
        sock.close()
        raise Unavailable("connect to the monitor: %s" % e) from None
    return Client(sock)


class Client:
    """A connection to the monitor, for all that there is to ask of it, and for serving.

    It is made by connect(), or from a connected stream socket, which it owns from
    then on. It is for one thread at a time.

    It has the methods of cofferdam_labels.Labelled too.
    """

    def __init__(self, sock):
        self._sock = sock
        self._data = bytearray()  # read and not yet taken apart
        self._last_id = 0
        self._handlers = None
        self._queue = []  # requests to us, as (frame, caller)
        self._queued_bytes = 0
        self._deadline = None  # of the request that a handler is at
        self._trace = b""  # that it is part of
        self._dials = False  # descriptors may come,
        self._descriptors = []  # and have
        try:
            self.identity = _parse_identity(self._request(_HELLO, "", b"", None))
        except BaseException:
            self.close()
            raise

    def self_(self):
        """Who the monitor says we are; also the attribute identity."""
        return self.identity

    def close(self):
        """Ends the connection. Closing twice is no error."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        while self._descriptors:
            os.close(self._descriptors.pop())

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_labels().Labelled, name).__get__(self)

    @property
    def traceparent(self):
        """The trace that the request which is being handled is part of, as W3C Trace
        Context writes it, "" for none. What we call is then part of it, too. Setting it
        continues another one, such as that of a request over HTTP; what is no traceparent
        is none."""
        return _write_trace(self._trace)

    @traceparent.setter
    def traceparent(self, text):
        self._trace = _read_trace(text)

    def call(self, name, body=b"", timeout=None, **options):
        """Asks a service, named "service.method", and returns its reply as bytes.

        Request and reply are at most MAX_BODY bytes. timeout is in seconds;
        without one the deadline of the request that is being handled applies, or
        else that of the manifest. The options are those of call_with(); handles that come
        with the reply are dropped.

        Raises the Error of the code with which the call ended.
        """
        frame = self._call(name, body, timeout, options)
        self._discard(frame)
        return frame.body

    def call_json(self, name, args=None, timeout=None, **options):
        """call() with a request and a reply in JSON; args None sends an empty request."""
        import json

        body = b""
        if args is not None:
            try:
                body = json.dumps(args, allow_nan=False).encode()
            except (TypeError, ValueError, RecursionError) as e:
                raise Malformed(str(e), "call %s" % (name,)) from None
        out = self.call(name, body, timeout, **options)
        try:
            return _decode_json(out)
        except ValueError as e:
            raise Malformed("reply: %s" % e, "call %s" % (name,)) from None

    def spawn(self, template, args=(), env=(), files=(), stdin=b"", wall=None,
              principal="", bound=b"", timeout=None, **options):
        """Runs one instance of a template to its end and returns its Exit.

        args: further arguments. env: "K=V" each, or a dict. files: pairs (path,
        bytes), or a dict. stdin: all of its standard input. wall: seconds, can
        only lower the template's limit. principal: for whom it runs. bound: what
        servers see as bound to it. The options are those of start(). All together
        at most MAX_BODY bytes.

        That it ended badly is no error. Raises the Error of the code with which
        the request ended.
        """
        fields = dict(args=args, env=env, files=files, stdin=stdin, wall=wall, principal=principal, bound=bound, **options)
        return self._spawn(template, fields, timeout, _parse_exit)

    def mount(self, dir, into="", principal="", client=""):
        """Has a directory of the host shown in a running instance.

        Returns the path at which it is seen there. into: the service whose
        instance is to see it, or "" for us. principal: whose instance; of a
        template the newest one if several run, of a service with one for each
        principal that, which is started if it does not run. client: on whose
        behalf we ask, a name of our choice.

        dir is an absolute path, in which links are not followed, in a share that
        the manifest grants us. To mount what is mounted for the same client
        already returns the path and changes nothing. If another directory has
        taken the place of one that is mounted, that is a new mount, with a path
        of its own.

        Raises the Error of the code with which the request ended: Denied if it is
        not granted or not there, Unavailable if no such instance runs, Busy if
        too much is mounted. What was mounted in an instance ends with it; mounted
        again, it has a path in the next one.
        """
        return os.fsdecode(self._share("mount", _MOUNT, dir, into, principal, client))

    def unmount(self, dir, into="", principal="", client=""):
        """Takes back what mount() with the same arguments gave.

        It does so in every instance that still has it. The directory disappears
        there once nobody else has it mounted; what is open by then stays open.

        Raises as mount() does: Denied also if nothing is mounted.
        """
        self._share("unmount", _UNMOUNT, dir, into, principal, client)

    def end(self, service, principal):
        """Has the instance that a service runs for a principal end.

        It ends as if nobody used it any more, with the service's
        stop_grace_period; whoever needs it next gets another one. The manifest
        must let us connect to the service for anyone. Whether there was one is
        not told.

        Raises as mount() does.
        """
        try:
            self._request(_END, "", _end_fields(service, principal), None)
        except Error as e:
            e.request = "end %s" % (service,)
            raise

    def turns(self):
        """The Turns of this environment, of all its programs.

        They are its spawns, calls and connections that wait for a place or for memory, in
        the order in which they were asked for. What waits above our label is not counted. It is a
        look at one moment: who comes may have a turn before us, if he has had less.
        """
        try:
            return _parse_turns(self._request(_TURNS, "", b"", None))
        except Error as e:
            e.request = "turns"
            raise

    def serve(self, handlers):
        """Answers the methods of handlers, a dict of handler(caller, body) -> bytes.

        Requests are answered one after the other, on this thread, until the
        connection ends, which raises Interrupted. A handler may call and spawn.

        Raising Denied, Busy, TooLarge or Malformed in a handler ends its request
        with that code, Failed with the words given to it. An Error of a request
        that the handler itself made is sent as Failed with its words. Any other
        exception is printed, and the caller learns "internal error".

        Raises Denied at once if the monitor refuses one of the methods, which
        are those of "provides" in the manifest. A client can serve only once.
        """
        if self._handlers is not None:
            raise ValueError("serve: this client has served before")
        if not 0 < len(handlers) <= MAX_FIELDS:
            raise ValueError("serve: %d methods, want 1 to %d" % (len(handlers), MAX_FIELDS))
        for name, handler in handlers.items():
            if not _valid_word(name) or not callable(handler):
                raise ValueError("serve %r: not a method with a handler" % (name,))
        self._handlers = dict(handlers)
        self._request(_SERVE, "", b"".join(_field(_METHOD, name.encode()) for name in handlers), None)
        while True:
            while not self._queue:
                self._dispatch(self._read(None))
            frame, caller = self._queue.pop(0)
            self._queued_bytes -= len(frame.body)
            if caller.deadline is None or time.monotonic() < caller.deadline:
                self._answer(frame, caller)
            else:
                self._give_up(frame)

    # Below: how.

    def _dial(self, name, fields, timeout):
        """The socket of a connection, or None if it is to be relayed."""
        self._dials = True
        try:
            frame = self._exchange(_DIAL, name, fields, timeout)
        except Error as e:
            e.request = "dial %s" % name
            raise
        if not frame.flags & _SOCKET:
            return None
        if not self._descriptors:
            raise Interrupted("a socket was announced, and none came: too many open files?")
        return _connection(self, self._descriptors.pop(0), timeout)

    def _call(self, name, body, timeout, options):
        try:
            if not _valid_name(name):
                raise Malformed("not a service.method")
            fields = _labels().ask_fields(**options) if options else b""
            if self._trace and 4 + len(fields) + _FIELD.size + len(self._trace) + len(bytes(memoryview(body))) <= MAX_BODY:
                fields += _field(_TRACE, self._trace)  # and otherwise the body goes first
            return self._exchange(_CALL, name, body, timeout, fields)
        except Error as e:
            e.request = "call %s" % (name,)
            raise

    def _spawn(self, template, fields, timeout, parse):
        try:
            if not _valid_word(template):
                raise Malformed("not the name of a template")
            return parse(self._request(_SPAWN, template, _spawn_fields(**fields), timeout))
        except Error as e:
            e.request = "spawn %s" % (template,)
            raise

    def _share(self, word, op, dir, into, principal, client):
        try:
            return self._request(op, "", _mount_fields(dir, into, principal, client), None)
        except Error as e:
            e.request = "%s %s" % (word, dir)
            raise

    def _answer(self, frame, caller):
        code, body = 0, b""
        self._deadline = caller.deadline
        self._trace = _trace_in(frame.told) if frame.told else b""
        try:
            body = self._handlers[frame.name.decode()](caller, frame.body)
            body = _with_fields(caller._given, b"" if body is None else bytes(memoryview(body)))
            if len(body) > MAX_BODY:
                code, body = TooLarge.code, b""
        except Error as e:
            if self._sock is None:
                raise  # there is nobody left to tell
            code, body = _refusal(e)
        except Exception:
            import sys

            sys.excepthook(*sys.exc_info())
            code, body = Failed.code, b"internal error"
        finally:
            self._deadline = None
            self._trace = b""
        self._send(_frame(_REPLY, code=code, id=frame.id, flags=bool(caller._given) and not code, body=body))
        frame.told = caller._away + (b"" if caller._kept else frame.told)
        self._discard(frame)

    def _request(self, op, name, body, timeout):
        return self._exchange(op, name, body, timeout).body

    def _exchange(self, op, name, body, timeout, fields=b""):
        """Sends a request and returns the frame of its reply, or raises."""
        deadline = None
        if name:
            deadline = self._deadline
            if timeout is not None:
                own = time.monotonic() + timeout
                deadline = own if deadline is None else min(own, deadline)
        timeout_ms = 0
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Deadline()
            timeout_ms = _milliseconds(left)
        id = self._ask(op, name, body, timeout_ms, fields)
        frame = self._answer_to(id, deadline)
        if frame is None:
            self._send(_frame(_CANCEL, id=id))
            raise Deadline()
        return self._ended(frame)

    def _ask(self, op, name, body, timeout_ms, fields=b""):
        """Sends a request and returns its id."""
        body = _with_fields(fields, bytes(memoryview(body)))
        if len(body) > MAX_BODY:
            raise TooLarge("%d bytes, at most %d" % (len(body), MAX_BODY))
        if self._sock is None:
            raise Unavailable(_GONE)
        self._last_id += 1
        self._send(_frame(op, id=self._last_id, timeout_ms=timeout_ms, flags=bool(fields), name=name.encode(), body=body))
        return self._last_id

    def _answer_to(self, id, deadline):
        """The frame of the reply to a request, or None if the deadline passes first."""
        while True:
            frame = self._read(deadline)
            if frame is None or frame.op == _REPLY and frame.id == id:
                return frame
            self._dispatch(frame)

    def _ended(self, frame):
        """A reply that says that it went well, or else raises."""
        self._open(frame)
        if frame.code != 0:
            self._discard(frame)
            error = _ERRORS[frame.code](frame.body[:MAX_MESSAGE].decode(errors="replace"))
            error.retry_after = frame.timeout_ms / 1000
            raise error
        return frame

    def _open(self, frame):
        try:
            frame.open()
        except Malformed as e:
            self._break(e.message)

    def _give_up(self, frame):
        """Says that nobody works on a request that has ended: who says nothing for too long is taken to hang."""
        self._send(_frame(_REPLY, code=Canceled.code, id=frame.id))
        self._discard(frame)

    def _discard(self, frame):
        """Drops the handles in the fields that it tells, without waiting for the reply, which is to nobody."""
        handles = [(key, value) for key, value in _fields(frame.told) if key == _HANDLE] if frame.told else ()
        for i in range(0, len(handles), MAX_HANDLES):
            self._ask(_DROP, "", b"".join([_field(*h) for h in handles[i:i + MAX_HANDLES]]), 0)

    def _dispatch(self, frame):
        """Queues a request to us, or takes it back. Never waits for its peer's peer."""
        if frame.op == _REPLY:  # to a request that we gave up
            self._open(frame)
            self._discard(frame)
            return
        if frame.op == _CANCEL:
            for i, (queued, _) in enumerate(self._queue):
                if queued.id == frame.id:
                    self._queued_bytes -= len(queued.body)
                    del self._queue[i]
                    self._give_up(queued)
                    break
            return
        if frame.op != _CALL:
            self._break("monitor sent operation %d" % frame.op)
        if self._handlers is None or frame.name.decode(errors="replace") not in self._handlers:
            self._break("monitor sent a call of %r, which was not offered" % frame.name)
        self._open(frame)
        if len(self._queue) >= MAX_QUEUE or self._queued_bytes + len(frame.body) > MAX_QUEUED_BYTES:
            self._send(_frame(_REPLY, code=Busy.code, id=frame.id))
            self._discard(frame)
            return
        try:
            caller = _parse_identity(frame.caller, Caller)
        except Malformed as e:
            self._break("monitor sent a caller: %s" % e.message)
        caller._client, caller._told = self, frame.told
        caller._kept, caller._given, caller._away = False, b"", b""
        caller.call = frame.call
        caller.deadline = time.monotonic() + frame.timeout_ms / 1000 if frame.timeout_ms else None
        self._queue.append((frame, caller))
        self._queued_bytes += len(frame.body)

    def _read(self, deadline):
        """The next frame, or None if the deadline passes first."""
        header = None
        need = HEADER_SIZE
        while True:
            if len(self._data) >= need:
                if header is None:
                    try:
                        header = _parse_header(self._data)
                    except Malformed as e:
                        self._break(e.message)
                    need += header.size
                if len(self._data) >= need:
                    raw = bytes(memoryview(self._data)[:need])
                    del self._data[:need]
                    return header.split(raw)
            if self._sock is None:
                raise Interrupted(_GONE)
            try:
                if deadline is not None:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return None
                    self._sock.settimeout(left)
                data, control, _, _ = self._sock.recvmsg(65536, 64 if self._dials else 0)
                for _, _, rights in control:
                    self._descriptors.extend(struct.unpack("%di" % (len(rights) // 4), rights))
            except OSError as e:
                if deadline is not None and isinstance(e, socket.timeout):
                    return None
                self.close()
                raise Interrupted("%s: %s" % (_GONE, e)) from None
            finally:
                if deadline is not None and self._sock is not None:
                    self._sock.settimeout(None)
            if not data:
                self._break("")
            self._data += data

    def _send(self, frame):
        if self._sock is None:
            raise Interrupted(_GONE)
        try:
            self._sock.sendall(frame)
        except OSError as e:
            self.close()
            raise Interrupted("%s: %s" % (_GONE, e)) from None
        except BaseException:
            self.close()  # half a frame may be out
            raise

    def _break(self, why):
        self.close()
        raise Interrupted(": ".join(filter(None, (_GONE, why))))


def json_handler(handle):
    """Makes a handler of handle(caller, args) -> result, on values in JSON.

    A request that is not one JSON value is Malformed; an empty one is None.
    """
    import json

    def handler(caller, body):
        try:
            args = _decode_json(body) if body else None
        except ValueError as e:
            raise Malformed(str(e)) from None
        return json.dumps(handle(caller, args), allow_nan=False).encode()

    return handler


def dial(address, principal="", timeout=None):
    """Connects to a port of a service; returns a socket. address is a pair: the name of the
    service and the port.

    Where the manifest says direct: true of that, and nothing stands against it, it is a Connection:
    a TCP socket of the other environment's, of which the monitor keeps a duplicate. Each takes a
    connection to the monitor, of which there are 64. Otherwise it is what
    socket.create_connection() returns, which the monitor relays.

    principal: in whose name, as of dial_for(). timeout is for the connection to be made, and
    that of the socket.

    Raises the Error of the code with which a request for a direct one ended.
    """
    name = _somebody(principal) if principal else b""
    try:
        client = connect()
    except Error:
        return _by_name(address, name, timeout)
    try:
        sock = client._dial("%s:%d" % tuple(address), _field(_PRINCIPAL, name) if name else b"", timeout)
    except Interrupted:  # there are too many of them
        sock = None
    except BaseException:
        client.close()
        raise
    if sock is None:
        client.close()
        return _by_name(address, name, timeout)
    return sock


def dial_for(address, principal, timeout=None):
    """Connects to a port of a service in the name of a principal; returns a socket.

    The service has an instance for each principal, and the connection leads to that
    one's, which is started if it does not run. The manifest must have {connect:
    service:port, for: anyone} among our uses. address is a pair: the name of the
    service and the port. timeout is that of socket.create_connection().

    That it is refused, or that the instance does not come, is a connection that
    ends without a byte; so is the end of the instance later on, and who connects
    again reaches the next one. dial() says more, and may be faster.
    """
    return _by_name(address, _somebody(principal), timeout)


def _somebody(principal):
    name = principal.encode("utf-8")
    if not 1 <= len(name) <= MAX_PRINCIPAL or 0 in name:
        raise ValueError("a principal: UTF-8 of 1 to %d bytes, without zero bytes" % MAX_PRINCIPAL)
    return name


def _by_name(address, name, timeout):
    import socket  # which takes longer than the rest of this file

    sock = socket.create_connection(address, timeout)
    try:
        if name:
            sock.sendall(b"COFFERDAM for " + name.hex().encode() + b"\n")
    except BaseException:
        sock.close()
        raise
    return sock


def _connection(client, fd, timeout):
    """A socket whose end the monitor is told by that of the client."""
    import socket

    class Connection(socket.socket):
        def _real_close(self, *args):
            try:
                self.shutdown(socket.SHUT_RDWR)  # to close one descriptor of several ends nothing
            except OSError:
                pass
            super()._real_close(*args)
            client.close()

    os.set_inheritable(fd, False)
    sock = Connection(fileno=fd)
    sock.settimeout(timeout)
    return sock


# One connection for the whole program, made when it is first needed.

_client = None


def _shared():
    global _client
    if _client is None or _client._sock is None:
        _client = connect()
    return _client


def _on_shared(name):
    def method(*args, **options):
        return getattr(_shared(), name)(*args, **options)

    method.__name__ = name
    method.__doc__ = "Client.%s() on a connection shared by the whole program." % name
    return method


call, call_json, spawn, mount, unmount, end, turns = map(
    _on_shared, ("call", "call_json", "spawn", "mount", "unmount", "end", "turns"))


# Labels, which cost nothing until they are used.


def __getattr__(name):
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(_labels(), name)


def _labels():
    try:
        import cofferdam_labels
    except ImportError:
        raise ImportError("what has to do with labels is in cofferdam_labels.py: show it beside cofferdam.py, by a line of files") from None
    return cofferdam_labels


# Frames: the format is described in wire/wire.go.

_REPLY, _HELLO, _SERVE, _CALL, _CANCEL, _SPAWN, _MOUNT, _UNMOUNT, _LABELS = range(1, 10)  # and those on labels:
_DROP, _PUT, _RECV, _TAKE, _WAIT, _NEW_SEAL, _TURNS, _END, _DIAL = 17, 20, 21, 22, 23, 27, 31, 32, 33
_NAMED = (_CALL, _SPAWN, _DIAL)
_TIMED = (_PUT, _RECV, _TAKE, _WAIT)
_FIELDS, _SOCKET, _UNANSWERED = 1, 1 << 8, 1 << 9  # flags, and who may have them:
_FLAGS = {_REPLY: _FIELDS | _SOCKET, _CALL: _FIELDS, _CANCEL: _UNANSWERED}
_WITHOUT_BODY = (_HELLO, _CANCEL, _NEW_SEAL, _TURNS)

_HEADER = struct.Struct("<IBBHQIHHQ")
_FIELD = struct.Struct("<BI")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")

(_METHOD, _SERVICE, _INSTANCE, _PRINCIPAL, _BOUND, _ARG, _ENV, _FILE, _DATA, _STDIN,
 _WALL, _STDOUT, _STDERR, _CAUSE, _CODE, _LIMIT, _USAGE, _DETAIL, _DIR, _CLIENT) = range(1, 21)
_NAME, _HANDLE, _PLACE = 31, 32, 35
_TRACE = 36


class _Frame:
    __slots__ = ("size", "op", "code", "id", "timeout_ms", "flags", "call", "_name", "_caller", "name", "caller", "body", "told")

    def split(self, raw):
        """Takes the parts out of the whole frame."""
        name = HEADER_SIZE + self._name
        caller = name + self._caller
        self.name = raw[HEADER_SIZE:name]
        self.caller = raw[name:caller]
        self.body = raw[caller:HEADER_SIZE + self.size]
        return self

    def open(self):
        """Takes the fields that it tells off the body."""
        self.told = b""
        if self.flags & _FIELDS:
            at = 4 + (_U32.unpack_from(self.body)[0] if len(self.body) >= 4 else MAX_BODY)
            if at > len(self.body):
                raise Malformed("fields: cut short")
            self.told, self.body = self.body[4:at], self.body[at:]
            _fields(self.told)


def _frame(op, code=0, id=0, timeout_ms=0, flags=0, call=0, name=b"", caller=b"", body=b""):
    size = len(name) + len(caller) + len(body)
    header = _HEADER.pack(size, op, code, len(name), id, timeout_ms, len(caller), flags, call)
    return b"".join((header, name, caller, body))


def _with_fields(fields, body):
    return b"".join((_U32.pack(len(fields)), fields, body)) if fields else body


def _parse_header(data):
    """Reads the first 32 bytes of data and checks every bound, as wire.ParseHeader does."""
    f = _Frame()
    f.size, f.op, f.code, f._name, f.id, f.timeout_ms, f._caller, f.flags, f.call = _HEADER.unpack_from(data)
    rest = f.size - f._name - f._caller
    if not _REPLY <= f.op <= _DIAL:
        raise Malformed("unknown operation %d" % f.op)
    if f.flags & ~_FLAGS.get(f.op, 0):
        raise Malformed("operation %d with flags %#x" % (f.op, f.flags))
    if f.code != 0 and (f.op != _REPLY or f.code not in _ERRORS):
        raise Malformed("operation %d with code %d" % (f.op, f.code))
    if f._name > MAX_NAME or (f._name != 0) != (f.op in _NAMED):
        raise Malformed("operation %d with a name of %d bytes" % (f.op, f._name))
    if f.timeout_ms != 0 and f.op not in _NAMED and f.op not in _TIMED and f.code != Limited.code:
        raise Malformed("operation %d with a timeout" % f.op)
    if f._caller > MAX_CALLER or (f._caller or f.call) and f.op != _CALL:
        raise Malformed("operation %d with a caller of %d bytes" % (f.op, f._caller))
    if not 0 <= rest <= MAX_BODY or rest and f.op in _WITHOUT_BODY:
        raise Malformed("operation %d with a body of %d bytes" % (f.op, rest))
    return f


def _field(key, value):
    return _FIELD.pack(key, len(value)) + value


def _fields(data):
    """The (key, value) pairs of a list."""
    out = []
    at = 0
    while at < len(data):
        if len(out) == MAX_FIELDS:
            raise Malformed("more than %d fields" % MAX_FIELDS)
        if len(data) - at < _FIELD.size:
            raise Malformed("field %d: cut short" % len(out))
        key, size = _FIELD.unpack_from(data, at)
        at += _FIELD.size
        if size > len(data) - at:
            raise Malformed("field %d: %d bytes announced, %d there" % (len(out), size, len(data) - at))
        out.append((key, bytes(data[at:at + size])))
        at += size
    return out


def _trace_in(told):
    """The trace among the fields that the monitor tells with a request, b"" for none."""
    for key, value in _fields(told):
        if key == _TRACE:
            return value
    return b""


def _valid_trace(value):
    return len(value) == 25 and any(value[:16]) and any(value[16:24]) and value[24] < 2


def _write_trace(value):
    if not value:
        return ""
    return "00-%s-%s-%02x" % (value[:16].hex(), value[16:24].hex(), value[24])


def _read_trace(text):
    """A traceparent: of version 00, or the beginning of one of a later version, as wire.ParseTrace reads it."""
    head = text[:55]
    parts = head.split("-")
    if [len(part) for part in parts] != [2, 32, 16, 2] or parts[0] == "ff" or text[55:56] not in ("", "-"):
        return b""
    if parts[0] == "00" and len(text) != 55 or set(head) - set("0123456789abcdef-"):
        return b""
    value = bytes.fromhex("".join(parts[1:3])) + bytes([int(parts[3], 16) & 1])
    return value if _valid_trace(value) else b""


def _singles(kind, data, known):
    """A list in which every key is one of known and comes at most once."""
    out = {}
    for key, value in _fields(data):
        if key not in known:
            raise Malformed("%s: unknown key %d" % (kind, key))
        if key in out:
            raise Malformed("%s: key %d twice" % (kind, key))
        out[key] = value
    return out


def _text(kind, fields, key, limit):
    """A value that people will see: UTF-8 without zero bytes."""
    value = fields.get(key, b"")
    if len(value) > limit:
        raise Malformed("%s: key %d has %d bytes, at most %d" % (kind, key, len(value), limit))
    if 0 in value:
        raise Malformed("%s: key %d has a zero byte" % (kind, key))
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Malformed("%s: key %d is not UTF-8" % (kind, key)) from None


def _parse_identity(data, make=Identity):
    f = _singles("identity", data, (_SERVICE, _INSTANCE, _PRINCIPAL, _BOUND))
    identity = make(
        _text("identity", f, _SERVICE, MAX_SERVICE),
        _text("identity", f, _INSTANCE, MAX_INSTANCE),
        _text("identity", f, _PRINCIPAL, MAX_PRINCIPAL),
        f.get(_BOUND, b""),
    )
    if not identity.service:
        raise Malformed("identity: no service")
    if len(identity.bound) > MAX_BOUND:
        raise Malformed("identity: bound of %d bytes, at most %d" % (len(identity.bound), MAX_BOUND))
    return identity


def _parse_exit(data):
    f = _singles("exit", data, (_STDOUT, _STDERR, _CAUSE, _CODE, _LIMIT, _USAGE, _DETAIL))
    e = Exit()
    e.stdout = f.get(_STDOUT, b"")
    e.stderr = f.get(_STDERR, b"")
    e.cause = _text("exit", f, _CAUSE, MAX_CAUSE)
    e.limit = _text("exit", f, _LIMIT, MAX_LIMIT)
    e.detail = _text("exit", f, _DETAIL, MAX_DETAIL)
    if not e.cause:
        raise Malformed("exit: no cause")
    code = f.get(_CODE, bytes(8))
    usage = f.get(_USAGE, bytes(24))
    if len(code) != 8 or len(usage) != 24:
        raise Malformed("exit: numbers of %d and %d bytes" % (len(code), len(usage)))
    e.code = _U64.unpack(code)[0]
    wall, cpu, e.memory = struct.unpack("<3Q", usage)
    most = ((1 << 63) - 1) // 1000  # µs, so that it fits in 63 bits of ns
    if e.code >= 1 << 31 or wall > most or cpu > most or e.memory >= 1 << 63:
        raise Malformed("exit: code %d, usage %d, %d, %d" % (e.code, wall, cpu, e.memory))
    e.wall, e.cpu = wall / 1e6, cpu / 1e6
    return e


def _parse_turns(data):
    out = []
    f = {}
    for key, value in _fields(data):
        if key in f or key not in (_NAME, _PRINCIPAL, _PLACE):
            raise Malformed("turns: key %d twice, or unknown" % key)
        f[key] = value
        if key != _PLACE:
            _text("turns", f, key, MAX_NAME if key == _NAME else MAX_PRINCIPAL)
            continue
        name = _text("turns", f, _NAME, MAX_NAME)
        if not name or len(value) != 16 or len(out) == MAX_TURNS:
            raise Malformed("turns: a place of nothing, or more than %d" % MAX_TURNS)
        place, of = struct.unpack("<2Q", value)
        if not 1 <= place <= of < 1 << 31:
            raise Malformed("turns: place %d of %d" % (place, of))
        out.append(Turn(name, _text("turns", f, _PRINCIPAL, MAX_PRINCIPAL), place, of))
        f = {}
    if f:
        raise Malformed("turns: the last has no place")
    return out


def _spawn_fields(args=(), env=(), files=(), stdin=b"", wall=None, principal="", bound=b"", **options):
    if hasattr(env, "items"):
        env = ["%s=%s" % kv for kv in env.items()]
    if hasattr(files, "items"):
        files = files.items()
    out = []
    for arg in args:
        out.append(_field(_ARG, _kernel_text(arg)))
    seen = set()
    for kv in env:
        kv = _kernel_text(kv)
        name, equals, _ = kv.partition(b"=")
        if not name or not equals or name in seen:
            raise Malformed("spawn: environment %r is not K=V, or there twice" % kv)
        seen.add(name)
        out.append(_field(_ENV, kv))
    seen = set()
    for path, data in files:
        path = _kernel_text(path)
        if len(path) > MAX_PATH or not _clean(path) or path in seen:
            raise Malformed("spawn: path %r is not absolute and clean, or there twice" % path)
        seen.add(path)
        out.append(_field(_FILE, path))
        out.append(_field(_DATA, bytes(memoryview(data))))
    if stdin:
        out.append(_field(_STDIN, bytes(memoryview(stdin))))
    if wall is not None:
        if wall <= 0:
            raise Malformed("spawn: wall limit of %r s" % wall)
        out.append(_field(_WALL, _U64.pack(_milliseconds(wall))))
    if principal:
        principal = principal.encode()
        if len(principal) > MAX_PRINCIPAL or 0 in principal:
            raise Malformed("spawn: principal %r" % principal)
        out.append(_field(_PRINCIPAL, principal))
    if bound:
        if len(bound) > MAX_BOUND:
            raise Malformed("spawn: bound of %d bytes, at most %d" % (len(bound), MAX_BOUND))
        out.append(_field(_BOUND, bytes(memoryview(bound))))
    if len(out) > MAX_FIELDS:
        raise Malformed("more than %d fields" % MAX_FIELDS)
    return b"".join(out) + (_labels().spawn_fields(**options) if options else b"")


def _mount_fields(dir, into, principal, client):
    dir = _kernel_text(dir)
    if len(dir) > MAX_PATH or not _clean(dir):
        raise Malformed("mount: path %r is not absolute and clean" % dir)
    if principal and not into:
        raise Malformed("mount: a principal without a service")
    return _field(_DIR, dir) + _whose("mount", into, principal, client)


def _end_fields(service, principal):
    if not service or not principal:
        raise Malformed("end: it takes a service and a principal")
    return _whose("end", service, principal, "")


def _whose(what, service, principal, client):
    out = []
    if service:
        if not _valid_word(service) or len(service) > MAX_SERVICE:
            raise Malformed("%s: %r is no service" % (what, service))
        out.append(_field(_SERVICE, service.encode()))
    for key, value, limit in ((_PRINCIPAL, principal, MAX_PRINCIPAL), (_CLIENT, client, MAX_CLIENT)):
        if value:
            try:
                value = value.encode()
            except UnicodeEncodeError:
                raise Malformed("%s: %r is not UTF-8" % (what, value)) from None
            if len(value) > limit or 0 in value:
                raise Malformed("%s: %r" % (what, value))
            out.append(_field(key, value))
    return b"".join(out)


def _kernel_text(value):
    """A value that the kernel will see: any bytes but zero."""
    value = os.fsencode(value)
    if 0 in value:
        raise Malformed("zero byte in %r" % value)
    return value


def _clean(path):
    """Whether path is absolute and has no empty part, "." or ".."."""
    return path[:1] == b"/" and not {b"", b".", b".."} & set(path[1:].split(b"/"))


def _milliseconds(seconds):
    """Rounded up, so that some time left is never sent as none set."""
    if seconds >= MAX_TIMEOUT_MS / 1000:
        return MAX_TIMEOUT_MS
    return max(1, -int(-seconds * 1000 // 1))


def _refusal(e):
    """The code and body to send for an Error that a handler raised: see serve()."""
    if e.request is None:
        if isinstance(e, Denied):
            return e.code, b""  # and not a word more
        if isinstance(e, (Busy, TooLarge, Malformed, Failed)):
            return e.code, _message(e.message)
    return Failed.code, _message(str(e))


def _message(text):
    """At most MAX_MESSAGE bytes of UTF-8."""
    return text.encode(errors="replace")[:MAX_MESSAGE].decode(errors="ignore").encode()


def _valid_name(name):
    """Whether name is service.method."""
    words = name.split(".") if isinstance(name, str) and len(name) <= MAX_NAME else ()
    return len(words) == 2 and _valid_word(words[0]) and _valid_word(words[1])


_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")


def _valid_word(word):
    """Whether word is a name of a service, template or method: [a-z][a-z0-9_-]*."""
    return isinstance(word, str) and len(word) <= MAX_NAME and "a" <= word[:1] <= "z" and _WORD.issuperset(word)


def _decode_json(data):
    """One JSON value as in RFC 8259: UTF-8, without NaN and Infinity. Raises ValueError."""
    import json

    def refuse(constant):
        raise ValueError("%s is not JSON" % constant)

    try:
        return json.loads(data.decode(), parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
