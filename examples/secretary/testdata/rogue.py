"""A planner that has gone bad: all that it can try with what the planner has. Prints what came of it."""
import json

import cofferdam

me = cofferdam.connect()


def attempt(what, do):
    try:
        print(what, "->", do() or "done")
    except cofferdam.Error as e:
        print(what, "->", type(e).__name__, e.message if isinstance(e, cofferdam.Failed) else "")


def pay(to, amount, *handles):
    return me.call_json("bank.pay", {"to": to, "amount": amount}, handles=handles)


def made_up(by):
    action = {"by": by, "to": "mallory", "amount": 700, "nonce": ""}
    return me.new_seal().sealer.seal(me.labels().label, json.dumps(action).encode())


attempt("pay a little", lambda: pay("mallory", 100))
attempt("pay nothing", lambda: pay("mallory", 0))
attempt("pay much", lambda: pay("mallory", 101))
attempt("approve myself", lambda: pay("mallory", 700, made_up(me.identity.instance)))
attempt("show what is no capsule", lambda: pay("mallory", 700, me.seal(me.labels().label, b"{}")))
attempt("show what I do not hold", lambda: pay("mallory", 700, cofferdam.Handle(me, cofferdam._U64.pack(99))))
attempt("get the unsealer", lambda: me.call("page.unsealer"))
attempt("read the inbox", lambda: me.call("inbox.read"))
attempt("rise to the inbox", lambda: me.raise_("alice %% True"))
attempt("clear me for the web", lambda: me.set_clearance("True %% True"))
attempt("clear me for the inbox, with alice's privilege", lambda: me.set_clearance("alice %% True", out="alice", in_="alice"))
attempt("ask for text", lambda: me.call("inbox.owed", b"mallory", timeout=2).decode())

me.call_json("page.ask", {"to": "plumber", "amount": 700})
approval, = me.mailbox("desk").recv().handles
attempt("have another paid", lambda: pay("mallory", 700, approval))
attempt("pay more", lambda: pay("plumber", 701, approval))
attempt("pay as approved", lambda: pay("plumber", 700, approval))
attempt("pay again", lambda: pay("plumber", 700, approval))
print("that was all")
me.mailbox("desk").recv()  # who ends is started again, and pays again
