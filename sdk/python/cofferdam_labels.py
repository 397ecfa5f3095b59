"""The half of the Python SDK that has to do with labels; cofferdam.py is the other.

    import cofferdam
    secret = cofferdam.Label("alice & bob %% True")

    me = cofferdam.labels()                                # what are we?
    letters = cofferdam.mailbox("letters")
    letters.post(b"for these two", out="carol")            # released with a privilege

    value = cofferdam.seal(secret, b"data")                # whoever gets this
    letters.post(b"see there", handles=[value])            # can pass it on,
    for message in cofferdam.mailbox("inbox"):
        message.handles[0].value().unseal(raise_=True)     # and is raised to read it

All of it is found in the module cofferdam, and the methods of Labelled are methods of
its Client. Those with options have of these what makes sense for them: out, a
privilege that releases secrets, and in_, one that vouches for what is received;
raise_=True, first to raise our label as far as it takes; force=True, to cut the
connections that stand in the way of that. A label is a Label or its text, a privilege
a Formula or its text.

Trusted: no. It runs inside, and the monitor decides.
"""

import time

import cofferdam as cd
from cofferdam import Busy, Canceled, Empty, Error, Malformed

MAX_GIVES = 16
MAX_LABEL = 64 << 10
MAX_CLAUSES = 64
MAX_NAMES = 16
MAX_NAME = 256  # of a principal, in bytes

_LABELS, _RAISE, _LOWER, _CLEARANCE, _SEAL, _UNSEAL, _RELABEL, _TAINT, _DROP, _MAILBOX = range(9, 19)
_POST, _PUT, _RECV, _TAKE, _WAIT, _KILL, _DELEGATE, _REVOKE = range(19, 27)
_NEW_SEAL, _ENCLOSE, _DISCLOSE, _AUTHENTICATE = range(27, 31)
_WORDS = dict(enumerate(
    "labels raise lower clearance seal unseal relabel taint drop mailbox post put recv take wait kill delegate revoke "
    "new-seal enclose disclose authenticate".split(), _LABELS))

(_LABEL, _CLEAR, _RESULT, _OUT, _IN, _OWNS, _SHOWN, _GIVE, _NAME, _HANDLE, _MODE, _CALLER) = range(23, 35)
_RAISING, _FORCING = 1, 2  # bits of a mode

_AGAIN = 3600.0  # seconds that the monitor is asked to wait at a time, if nobody says how long
_GRACE = 1.0  # seconds that it may be late to say that nothing came


# Labels


class Formula(str):
    """Whose authority something takes: half of a label, or a privilege.

    It is made of a text, as in "alice & (bob | carol)", and is the text of its
    normal form, so that formulas of one meaning are equal. clauses is that form:
    a tuple, as an and, of tuples of names, each an or. True asks nothing, False more
    than anybody has. Raises Malformed for what is not a formula, or is beyond the
    bounds.
    """

    def __new__(cls, text="True"):
        return text if isinstance(text, cls) else _Parser(text).whole(1)[0]

    def implies(self, other):
        """Whether other holds wherever this does; of privileges, whether this one speaks for other."""
        mine = [set(c) for c in self.clauses]
        return all(any(c.issubset(d) for c in mine) for d in Formula(other).clauses)

    def __and__(self, other):
        return _formula(map(frozenset, self.clauses + Formula(other).clauses))

    def __or__(self, other):
        return _formula(frozenset(c + d) for c in self.clauses for d in Formula(other).clauses)


def principal(name):
    """The Formula of one principal with this name, whatever characters it has: for names that come from elsewhere."""
    return Formula(_quote(name))


class Label(str):
    """What is known of data: secrecy says who must agree before it is made public,
    integrity who vouches for it.

    It is made of a text, as in "alice & bob %% True", or of two formulas, and is
    the text of its normal form, so that labels of one meaning are equal. Raises
    Malformed for what is not a label, or is beyond the bounds.
    """

    def __new__(cls, text="True %% True", integrity=None):
        if isinstance(text, cls):
            return text
        halves = _Parser(text).whole(2) if integrity is None else (Formula(text), Formula(integrity))
        label = str.__new__(cls, " %% ".join(halves))
        label.secrecy, label.integrity = halves
        return label

    def flows_to(self, other):
        """Whether data of this label may go to where the label is other."""
        other = Label(other)
        return other.secrecy.implies(self.secrecy) and self.integrity.implies(other.integrity)

    def join(self, other):
        """The lowest label that both flow to: that of what was made of the two."""
        other = Label(other)
        return Label(self.secrecy & other.secrecy, self.integrity | other.integrity)

    def meet(self, other):
        """The highest label that flows to both."""
        other = Label(other)
        return Label(self.secrecy | other.secrecy, self.integrity & other.integrity)


# What is told


class Labels:
    """What the monitor has written down about us.

    label: what we may have read, and who vouches for us. clearance: how far label
    may rise. owns: the privileges that we have. handles: those that we were
    started with, in the order of who started us, and those of the privileges that it gave.
    """

    __slots__ = ("label", "clearance", "owns", "handles")


class Reply:
    """What a call was answered with: body, handles, which are ours to drop, and the label of the answer."""

    __slots__ = ("body", "handles", "label")


class Message:
    """What was in a mailbox.

    data: bytes. handles: those that came with it, ours to drop; of a privilege that would
    have been too much for us, one of nothing. sender: the Identity of who sent
    it, as the monitor knows. label: of the mailbox.
    """

    __slots__ = ("data", "handles", "sender", "label")


# Handles


class Handle:
    """Stands for something that the monitor keeps for us.

    It can be sent to others, who get one of their own. What it stands for the
    receiver has to know, and says with value(), mailbox() and so on: to use it as what
    it is not is Denied. A with statement drops it at its end.
    """

    __slots__ = ("_client", "_raw")

    def __init__(self, client, raw):
        self._client = client
        self._raw = raw  # its number in our table, of no use to others

    def __repr__(self):
        return "%s(%d)" % (type(self).__name__, cd._U64.unpack(self._raw)[0])

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.drop()

    def drop(self):
        """Gives it up. Others who have one of the same keep theirs. Twice is no error."""
        self._client.drop(self)

    def label(self):
        """The Label of the value, mailbox or result that this stands for, for which it need not be possible to
        read it. Of anything else it is Denied, or public for a privilege.
        """
        return ask(self._client, _LABELS, "of a handle", [self]).label

    def value(self):
        """The labeled value that this stands for."""
        return Value(self._client, self._raw)

    def mailbox(self):
        """The mailbox that this stands for."""
        return Mailbox(self._client, self._raw)

    def result(self):
        """The end of a child that this stands for."""
        return Result(self._client, self._raw)

    def privilege(self):
        """The privilege that this stands for."""
        return Privilege(self._client, self._raw)

    def sealer(self):
        """The part of a seal that this stands for, which seals."""
        return Sealer(self._client, self._raw)

    def unsealer(self):
        """The part of a seal that this stands for, which unseals."""
        return Unsealer(self._client, self._raw)

    def tester(self):
        """The part of a seal that this stands for, which recognises capsules."""
        return Tester(self._client, self._raw)

    def capsule(self):
        """The capsule that this stands for."""
        return Capsule(self._client, self._raw)


class Value(Handle):
    """A labeled value: bytes that only those read who are at its label. It never changes."""

    __slots__ = ()

    def unseal(self, **options):
        """Its bytes. Raises LabelError if our label is not as high as its own."""
        return self.unseal_label(**options)[0]

    def unseal_label(self, **options):
        """Its bytes, and its label."""
        told = ask(self._client, _UNSEAL, "value", [self], **options)
        return told.data, told.label

    def relabel(self, label, **options):
        """A Value of the same bytes at another label, between which and its own a privilege makes no difference."""
        return make(self._client, Value, _RELABEL, "to %s" % label, [self], label=label, **options)

    def taint(self, label, **options):
        """A Value of the same bytes at the join of its label and this one, for which it need not be read."""
        return make(self._client, Value, _TAINT, "to %s" % label, [self], label=label, **options)


class Mailbox(Handle):
    """A queue of messages, with one fixed label for whatever is in it.

    It has either one owner, who alone receives, or is shared by those who take.
    `for message in mailbox` receives for ever.
    """

    __slots__ = ("name",)  # "" for one that was made at run time; one of the manifest has no number

    def __init__(self, client, raw=bytes(8), name=""):
        super().__init__(client, raw)
        self.name = name

    def post(self, data=b"", handles=(), **options):
        """Sends a message blindly: that it is not refused says nothing about whether there was room or
        anybody reads it. It may go to a mailbox with a higher label than ours.

        Raises LabelError if our label does not flow there.
        """
        self._ask(_POST, handles, data=data, **options)

    def put(self, data=b"", handles=(), timeout=None, **options):
        """Sends a message as soon as there is room, which takes being at the label of the mailbox.

        Raises Busy if there was none within the timeout, in seconds.
        """
        self._ask(_PUT, handles, timeout=timeout, data=data, **options)

    def recv(self, timeout=None, **options):
        """The next Message of a mailbox that we own, as soon as there is one.

        timeout: in seconds; 0 looks and does not wait. Raises Empty if there was none
        within it, and LabelError if we are not at the label of the mailbox; with raise_ we are
        raised first, and stay so, also if nothing comes.
        """
        return self._next(_RECV, timeout, options)

    def take(self, timeout=None, **options):
        """recv() of a shared mailbox. Others see that the message is gone, so it takes being at the label
        of the mailbox, neither higher nor lower.
        """
        return self._next(_TAKE, timeout, options)

    def __iter__(self):
        while True:
            yield self.recv()

    def _next(self, op, timeout, options):
        told = self._ask(op, (), timeout=timeout, **options)
        message = Message()
        message.data, message.label = told.data, told.label
        message.handles, message.sender = handles_of(self._client, told), told.caller
        return message

    def _ask(self, op, handles, **options):
        if self.name:
            return ask(self._client, op, self.name, handles, name=self.name, **options)
        return ask(self._client, op, "mailbox", [self, *handles], **options)


class Result(Handle):
    """How an instance ended and what it printed, as a labeled value: known when it has ended, to those
    who are at the label of the result.

    The instance lives as long as who started it has a handle of this: to drop it is to kill().
    """

    __slots__ = ()

    def wait(self, timeout=None, **options):
        """The Exit of the instance, as soon as it has ended.

        Raises Empty if it had not within the timeout, LabelError if we are not at the
        label of the result, Withheld if the instance has risen above that, of which
        nobody is told more, and Unavailable, or Deadline or Canceled, if it could not begin,
        or not in time.
        """
        return cd._parse_exit(ask(self._client, _WAIT, "result", [self], timeout=timeout, **options).data)

    def kill(self, **options):
        """Ends the instance, if we may write at its label, and never says whether we could."""
        ask(self._client, _KILL, "result", [self], **options)


class Privilege(Handle):
    """A privilege to be given away: whoever gets a handle of it owns what it says, until it is revoked."""

    __slots__ = ()

    def formula(self):
        """The Formula that it says."""
        return ask(self._client, _LABELS, "of a handle", [self]).owns

    def revoke(self):
        """Ends it: nobody owns any more what they owned by it, nor what was delegated of that."""
        ask(self._client, _REVOKE, "privilege", [self])


class Sealer(Handle):
    """The part of a seal that makes capsules."""

    __slots__ = ()

    def seal(self, label, data=b"", **options):
        """A Capsule of data at this label."""
        return make(self._client, Capsule, _ENCLOSE, "at %s" % label, [self], label=label, data=data, **options)


class Tester(Handle):
    """The part of a seal that recognises the capsules that bear it."""

    __slots__ = ()

    def authenticate(self, capsule):
        """Whether a capsule bears our seal."""
        return bool(ask(self._client, _AUTHENTICATE, "capsule", [self, capsule]).data)


class Unsealer(Tester):
    """The part of a seal that opens the capsules that bear it."""

    __slots__ = ()

    def unseal(self, capsule, **options):
        """The bytes in a capsule that bears our seal; any other raises Denied. Its label is treated as by
        Value.unseal().
        """
        return ask(self._client, _DISCLOSE, "capsule", [self, capsule], **options).data


class Capsule(Handle):
    """Bytes under a seal: of no use to who does not have its unsealer, and certain to be from somebody who
    had its sealer. It has a label besides, as a Value.
    """

    __slots__ = ()


class Seal:
    """A new seal in its three parts, each of which can be given away by itself: sealer, unsealer, tester."""

    __slots__ = ("sealer", "unsealer", "tester")


# Client


class Labelled:
    """The methods of Client that have to do with labels."""

    def labels(self):
        """What we are: a Labels."""
        told = ask(self, _LABELS, "")
        labels = Labels()
        labels.label, labels.clearance, labels.owns = told.label, told.clearance, told.owns
        labels.handles = handles_of(self, told)
        return labels

    def raise_(self, to, **options):
        """Sets our label to a higher one, for good: what we may then read we may no longer tell those below.

        It is all of us that rises, every process and connection: consider to start() another
        environment at that label. Raises LabelError if our clearance forbids it, or a
        connection that could then no longer be; with force=True that is cut.
        """
        ask(self, _RAISE, "to %s" % to, label=to, **options)

    def lower(self, to, **options):
        """Sets our label to a lower one, which takes a privilege: all that we know is thereby released."""
        ask(self, _LOWER, "to %s" % to, label=to, **options)

    def set_clearance(self, to, **options):
        """Sets our clearance: lower freely, as far as our label; higher with a privilege."""
        ask(self, _CLEARANCE, "to %s" % to, label=to, **options)

    def seal(self, label, data=b"", **options):
        """Makes a Value of data. Its label is at least ours, or a privilege makes it so, and within our clearance."""
        return make(self, Value, _SEAL, "at %s" % label, label=label, data=data, **options)

    def drop(self, *handles):
        """Gives handles up, all at once."""
        for i in range(0, len(handles), cd.MAX_HANDLES):
            ask(self, _DROP, "handles", handles[i:i + cd.MAX_HANDLES])

    def mailbox(self, name):
        """The Mailbox of the manifest with this name. Nothing is asked yet: whether we may use it, whether
        it is there, is answered when we do.
        """
        if not cd._valid_word(name):
            raise Malformed("not the name of a mailbox", "mailbox %s" % (name,))
        return Mailbox(self, name=name)

    def new_mailbox(self, label, **options):
        """Makes a Mailbox at this label, which we own. Others send to it with the handle that we give them."""
        return make(self, Mailbox, _MAILBOX, "at %s" % label, label=label, **options)

    def delegate(self, privilege):
        """Makes a Privilege of what we own, which must imply it. Nobody has it yet: it goes to others with
        a message, a call or a spawn.
        """
        return make(self, Privilege, _DELEGATE, privilege, give=privilege)

    def new_seal(self):
        """Makes a Seal that no other one equals."""
        h = handles_of(self, ask(self, _NEW_SEAL, ""), 3)
        seal = Seal()
        seal.sealer, seal.unsealer, seal.tester = h[0].sealer(), h[1].unsealer(), h[2].tester()
        return seal

    def call_with(self, name, body=b"", timeout=None, **options):
        """call() that returns a Reply, with the handles that came.

        Further options: shown, a privilege that is described to who is called, who
        does not get it; handles, which go with the request, and we keep ours. Raises LabelError
        if our label does not flow to that of requests there, or that of answers not to ours.
        """
        frame = self._call(name, body, timeout, options)
        told = parse_told(frame.told)
        reply = Reply()
        reply.body, reply.handles, reply.label = frame.body, handles_of(self, told), told.label
        return reply

    def gate(self, name, shown, body=b"", timeout=None):
        """call() of a gate: a method that releases or endorses what its caller could not, and wants to be
        shown a privilege for it, which it does not get.
        """
        return self.call(name, body, timeout, shown=shown)

    def start(self, template, result, timeout=None, **fields):
        """spawn() that does not wait. What is printed, and how it ends, is a Result at the label result,
        whatever the instance reads meanwhile: so it can run at a higher label than ours.
        After the timeout it is killed.

        Further options, of spawn() too: label, clearance: its own, None for those of the
        template, raised to ours; gives: privileges of ours that it gets; handles: of ours
        that it gets, as its labels().handles, before those of gives; out, in_: privileges
        that we use for it.
        """
        fields["result"] = result
        return self._spawn(template, fields, timeout, lambda body: made(self, Result, parse_told(body)))


def make(client, kind, op, what, handles=(), **options):
    """Asks for an operation that makes something, and returns the handle of it."""
    told = ask(client, op, what, handles, **options)
    try:
        return made(client, kind, told)
    except Malformed as e:
        e.request = _request(op, what)
        raise


def ask(client, op, what, handles=(), timeout=None, **options):
    """Asks for an operation on labels and returns what is told."""
    for option in ("out", "in_", "shown", "raise_", "force"):
        if option in options and option not in _options(op):
            raise TypeError("%s: no option %s; it has %s" % (_WORDS[op], option, ", ".join(_options(op)) or "none"))
    try:
        body = ask_fields(handles, **options)
        if op not in cd._TIMED:
            return parse_told(client._request(op, "", body, None))
        deadline = client._deadline  # of the request that a handler is at
        if timeout is not None:
            own = time.monotonic() + timeout
            deadline = own if deadline is None else min(own, deadline)
        return parse_told(until(client, op, body, deadline))
    except Error as e:
        e.request = _request(op, what)
        raise


def _options(op):
    """What an operation has of the options that say how it is done."""
    if op in (_UNSEAL, _RECV, _TAKE, _WAIT, _DISCLOSE):
        return "out", "in_", "raise_", "force"
    if op in (_LABELS, _DROP, _DELEGATE, _REVOKE, _NEW_SEAL, _AUTHENTICATE):
        return ()
    return ("force",) if op == _RAISE else ("out", "in_", "force") if op == _LOWER else ("out", "in_")


def until(client, op, body, deadline):
    """Asks for something that waits, until the deadline, or for good. Returns the body of the reply.

    A put, recv or take is answered even if it is withdrawn, so that no message is lost: then
    it is the monitor that says whether the time is up.
    """
    late = Busy if op == _PUT else Empty
    while True:
        left = _AGAIN if deadline is None else max(0, deadline - time.monotonic())
        began = time.monotonic()
        id = client._ask(op, "", body, cd._milliseconds(left))
        frame = client._answer_to(id, began + left + _GRACE)
        if frame is None:
            client._send(cd._frame(cd._CANCEL, id=id))
            frame = None if op == _WAIT else client._answer_to(id, None)
            if frame is None or frame.code == Canceled.code:
                if deadline is None:
                    continue
                raise late()
        try:
            return client._ended(frame).body
        except (Empty, Busy) as e:
            early = time.monotonic() - began < left
            if deadline is not None or early and isinstance(e, Busy):
                raise  # at once a Busy is not for lack of room


def _request(op, what):
    return ("%s %s" % (_WORDS[op], what)).rstrip()


def _on_shared(name):
    def method(*args, **options):
        return getattr(cd._shared(), name)(*args, **options)

    method.__name__ = name
    method.__doc__ = "Client.%s() on a connection shared by the whole program." % name
    return method


for _name in vars(Labelled):
    if not _name.startswith("_"):
        globals()[_name] = _on_shared(_name)


def made(client, kind, told):
    """The handle of what was just made."""
    return kind(client, handles_of(client, told, 1)[0]._raw)


def handles_of(client, told, want=None):
    if want is not None and len(told.handles) != want:
        raise Malformed("the reply has %d handles, not %d" % (len(told.handles), want))
    return [Handle(client, raw) for raw in told.handles]


def of_caller(caller, name):
    """What a Caller has to do with labels."""
    if name in ("label", "shown", "handles"):
        told = parse_told(caller._told)
        caller.label, caller.shown, caller.handles = told.label, told.shown, handles_of(caller._client, told)
        return getattr(caller, name)
    if name not in ("keep", "give", "give_away"):
        raise AttributeError(name)
    return globals()["_" + name].__get__(caller)


def _keep(caller):
    """Makes the handles stay when the handler has returned. They are ours to drop then."""
    caller._kept = True


def _give(caller, *handles):
    """Has handles go to the caller with the reply, if that is no error. We keep ours."""
    fields = caller._given + _handle_fields(handles)
    if len(cd._fields(fields)) > cd.MAX_HANDLES:
        raise ValueError("more than %d handles" % cd.MAX_HANDLES)
    caller._given = fields


def _give_away(caller, *handles):
    """give() of handles that we do not keep: they are dropped after the reply, whatever it is."""
    caller._away += _handle_fields(handles)
    caller.give(*handles)


# Fields: what they mean is described in wire/ask.go, wire/told.go and wire/spawn.go.


class Told:
    """What an operation on labels tells; what is not told is as here."""

    __slots__ = ("label", "clearance", "owns", "shown", "handles", "caller", "data", "trace")

    def __init__(self):
        self.label = self.clearance = Label()
        self.owns = self.shown = Formula()
        self.handles, self.caller, self.data, self.trace = [], None, b"", ""


def parse_told(data):
    told = Told()
    seen = set()
    for key, value in cd._fields(data):
        if key == _HANDLE:
            if len(value) != 8 or len(told.handles) == cd.MAX_HANDLES:
                raise Malformed("told: a handle of %d bytes, or more than %d" % (len(value), cd.MAX_HANDLES))
            told.handles.append(value)
            continue
        if key in seen:
            raise Malformed("told: key %d twice" % key)
        seen.add(key)
        if key == _LABEL:
            told.label = Label(_text(key, value))
        elif key == _CLEAR:
            told.clearance = Label(_text(key, value))
        elif key == _OWNS:
            told.owns = Formula(_text(key, value))
        elif key == _SHOWN:
            told.shown = Formula(_text(key, value))
        elif key == _CALLER:
            told.caller = cd._parse_identity(value)
        elif key == cd._DATA:
            told.data = value
        elif key == cd._TRACE:
            if not cd._valid_trace(value):
                raise Malformed("told: a trace that is none")
            told.trace = cd._write_trace(value)
        else:
            raise Malformed("told: unknown key %d" % key)
    return told


def _text(key, value):
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Malformed("told: key %d is not UTF-8" % key) from None


def ask_fields(handles=(), name="", label=None, give=None, out=None, in_=None, shown=None,
               raise_=False, force=False, data=b""):
    """What an operation is asked with."""
    if len(handles) > cd.MAX_HANDLES:
        raise Malformed("%d handles, at most %d" % (len(handles), cd.MAX_HANDLES))
    fields = [cd._field(_NAME, name.encode())] if name else []
    fields.append(_handle_fields(handles))
    fields += _texts((_LABEL, label), (_GIVE, give), (_OUT, out), (_IN, in_), (_SHOWN, shown))
    if raise_ or force:
        fields.append(cd._field(_MODE, cd._U64.pack(_RAISING * bool(raise_) | _FORCING * bool(force))))
    if data:
        fields.append(cd._field(cd._DATA, bytes(memoryview(data))))
    return b"".join(fields)


def spawn_fields(label=None, clearance=None, result=None, gives=(), handles=(), out=None, in_=None):
    """What a spawn has beside what cofferdam.py knows of."""
    if len(handles) > cd.MAX_HANDLES or len(gives) > MAX_GIVES:
        raise Malformed("%d handles and %d privileges, at most %d and %d" % (len(handles), len(gives), cd.MAX_HANDLES, MAX_GIVES))
    fields = _texts((_LABEL, label), (_CLEAR, clearance), (_RESULT, result), *((_GIVE, g) for g in gives))
    fields.append(_handle_fields(handles))
    return b"".join(fields + _texts((_OUT, out), (_IN, in_)))


def _handle_fields(handles):
    return b"".join([cd._field(_HANDLE, h._raw) for h in handles])


def _texts(*pairs):
    """Labels and formulas, but for those that are None, and privileges that are no power."""
    out = []
    for key, text in pairs:
        if text is None:
            continue
        text = Label(text) if key in (_LABEL, _CLEAR, _RESULT) else Formula(text)
        if text != "True" or key == _GIVE:
            out.append(cd._field(key, text.encode()))
    return out


# Texts of labels: the grammar and the normal form are those of package label, see label/parse.go.

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@")
_INNER = _LETTERS | frozenset(".-:+")
_DIGITS = frozenset("0123456789")
_SPACES = frozenset(" \t\r\n")
_MARKS = (("&", "&"), ("/\\", "&"), ("|", "|"), ("\\/", "|"), ("(", "("), (")", ")"), ("%%", "%%"))
_ESCAPES = {word: i for i, word in enumerate((
    "NUL SOH STX ETX EOT ENQ ACK a b t n v f r SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US").split())}
_ESCAPES.update({"DEL": 127, '"': 34, "\\": 92})
_ESCAPED = {i: word for word, i in _ESCAPES.items()}
_MAX_DEPTH = 32
_MAX_WORK = 4 * (MAX_CLAUSES * MAX_CLAUSES + 1)


class _Parser:
    """Reads a text of one or two formulas from left to right, one token ahead."""

    def __init__(self, text):
        if not isinstance(text, str):
            raise TypeError("%r is not the text of a label or a formula" % (text,))
        self.text = text
        self.at = self.depth = self.work = 0
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            self.fail("not UTF-8")
        if size > MAX_LABEL:
            self.fail("%d bytes, at most %d" % (size, MAX_LABEL))
        self.next()

    def fail(self, why):
        raise Malformed("%.80r: at character %d: %s" % (self.text, self.at, why))

    def whole(self, halves):
        """That many formulas, and nothing else."""
        out = [_formula(self.formula())]
        while len(out) < halves:
            if self.token != "%%":
                self.fail("no %%: a label is SECRECY %% INTEGRITY, with True for a half that names nobody")
            self.next()
            out.append(_formula(self.formula()))
        if self.token:
            self.fail("%r where the end was expected" % self.token)
        return out

    def formula(self):
        """The clauses of a formula, in normal form."""
        out = self.term()
        operator = self.token
        if operator not in ("&", "|"):
            return out
        while self.token == operator:
            self.next()
            other = self.term()
            if operator == "&":
                out = out + other
                continue
            self.work += len(out) * len(other) + 1
            if self.work > _MAX_WORK:
                self.fail("over the bound")
            out = _reduce(c | d for c in out for d in other)
        if self.token in ("&", "|"):
            self.fail("and with or takes parentheses: (a & b) | c, or a & (b | c)")
        return _reduce(out)

    def term(self):
        token = self.token
        if token == "(":
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                self.fail("parentheses %d deep" % self.depth)
            self.next()
            out = self.formula()
            if self.token != ")":
                self.fail("%r where %r was expected" % (self.token, ")"))
            self.depth -= 1
        elif token in ("True", "False"):
            out = [] if token == "True" else [frozenset()]
        elif token == "name":
            out = [frozenset([self.principal()])]
        else:
            self.fail("%r where a formula was expected" % token)
        self.next()
        return out

    def principal(self):
        if len(self.name) > MAX_NAME:
            self.fail("a name of %d bytes, at most %d" % (len(self.name), MAX_NAME))
        try:
            return self.name.decode()
        except UnicodeDecodeError:
            self.fail("a name that is not UTF-8")

    def next(self):
        text = self.text
        while self.peek() in _SPACES:
            self.at += 1
        first = self.token = self.peek()
        start = self.at
        if first == '"':
            self.token, self.name = "name", self.quoted()
        elif first in _LETTERS:
            while self.peek() in _INNER:
                self.at += 1
            word = text[start:self.at]
            self.token, self.name = word if word in ("True", "False") else "name", word.encode()
            if self.token == "name" and word.lower() in ("true", "false", "and", "or", "not"):
                self.fail("constants are True and False, operators & and |; a principal of that name stands in quotes")
        elif first:
            for mark, self.token in _MARKS:
                if text.startswith(mark, start):
                    self.at += len(mark)
                    return
            self.fail("%r is no part of a name without quotes" % first)

    def peek(self):
        return self.text[self.at:self.at + 1]

    def quoted(self):
        """The name in quotes that begins here, as bytes."""
        name = bytearray()
        self.at += 1
        while True:
            c = self.peek()
            if not c:
                self.fail("a name without its closing quote")
            if c < " " or c == "\x7f":
                self.fail("%r in a name is written as an escape" % c)
            self.at += 1
            if c == '"':
                return bytes(name)
            name += self.escape() if c == "\\" else c.encode()

    def escape(self):
        """What stands behind a backslash."""
        start = self.at
        while self.peek() in _DIGITS:
            self.at += 1
        if self.at > start:
            digits = self.text[start:self.at].lstrip("0")
            if len(digits) > 3 or int(digits or "0") > 255:
                self.fail("a byte is below 256")
            return bytes([int(digits or "0")])
        if self.text.startswith("&", start):
            self.at += 1
            return b""
        # The longest: \SOH is not \SO and an H.
        word = max((w for w in _ESCAPES if self.text.startswith(w, start)), key=len, default="")
        if not word:
            self.fail("unknown escape")
        self.at += len(word)
        return bytes([_ESCAPES[word]])


def _reduce(clauses):
    """The normal form of an and: no clause contains another one."""
    kept = []
    for c in sorted(clauses, key=len):
        if any(k <= c for k in kept):
            continue
        if len(kept) == MAX_CLAUSES or len(c) > MAX_NAMES:
            raise Malformed("a formula of more than %d clauses, or of a clause of more than %d names" % (MAX_CLAUSES, MAX_NAMES))
        kept.append(c)
    return kept


def _formula(clauses):
    """The Formula of these clauses, in the one order."""
    names = sorted((tuple(sorted(c)) for c in _reduce(clauses)), key=lambda c: (len(c), c))
    formula = str.__new__(Formula, " /\\ ".join(map(_clause, names)) or "True")
    formula.clauses = tuple(names)
    return formula


def _clause(names):
    if not names:
        return "False"
    text = " \\/ ".join(map(_quote, names))
    return text if len(names) == 1 else "(%s)" % text


def _quote(name):
    """A name in quotes, as Haskell writes strings of bytes: see label/text.go."""
    raw = name.encode(errors="surrogatepass")  # which no parser accepts
    out = '"'
    for i, c in enumerate(raw):
        follows = raw[i + 1:i + 2]
        if c >= 128:
            out += "\\%d" % c + "\\&" * follows.isdigit()
        elif c in _ESCAPED:
            out += "\\" + _ESCAPED[c] + "\\&" * (c == 14 and follows == b"H")
        else:
            out += chr(c)
    return out + '"'
