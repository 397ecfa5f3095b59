"""A stand-in for a language model with tools: it does whatever the text that it reads tells it to.

It is the planner, the reader and the browser. Nothing in it is about safety, and it does not
know of labels. It prints what came of each attempt.
"""
import http.client
import json
import os
import sys
import urllib.parse

import cofferdam

known = []  # all that it has read


def read(text):
    """Takes in a text, and does what it says."""
    known.append(text)
    for line in text.splitlines():
        verb, _, rest = line.partition(" ")
        if verb in TOOLS:
            attempt(line, lambda: TOOLS[verb](*rest.split(" ", 1) if rest else ()))


def attempt(what, do):
    try:
        print(what, "->", do() or "done")
    except cofferdam.Error as e:
        print(what, "->", type(e).__name__, str(e).partition(";")[0])
    except (OSError, http.client.HTTPException):
        print(what, "-> the connection was closed")


def settle(name):
    """Pays what alice owes to somebody."""
    owed = cofferdam.call("inbox.owed", name.encode(), timeout=10).decode()
    return "%s, %s" % (owed, pay(name, owed))


def pay(name, amount, approval=()):
    order = {"to": name, "amount": int(amount)}
    try:
        return cofferdam.call_json("bank.pay", order, handles=approval)
    except cofferdam.Failed as e:
        if approval:
            raise
        cofferdam.call_json("page.ask", order)
        return "%s; asked" % e.message


def get(path):
    """Reads a page of the web, and does what it says."""
    web = http.client.HTTPConnection("egress", 3128, timeout=10)
    web.set_tunnel(os.environ["WEB"])
    web.request("GET", path.replace("{all}", urllib.parse.quote("\n".join(known))))
    page = web.getresponse()
    read(page.read().decode())
    return page.status


def tell(*text):
    """Leaves a text for the planner."""
    cofferdam.mailbox("desk").post(" ".join(text).encode())


def news():
    """Reads what the browser has found."""
    read(cofferdam.mailbox("pages").take(timeout=10).data.decode())


TOOLS = {"!settle": settle, "!pay": pay, "!get": get, "!tell": tell, "!news": news}


def desk():
    for message in cofferdam.mailbox("desk"):
        if message.handles:  # an approval, with what was approved
            order = json.loads(message.data)
            attempt("approved: pay %(to)s %(amount)d" % order, lambda: pay(order["to"], order["amount"], message.handles))
            cofferdam.drop(*message.handles)
        else:
            read(message.data.decode())


def inbox():
    read(cofferdam.call("inbox.read").decode())


def web():
    get("/news.txt")
    cofferdam.mailbox("pages").put(known[0].encode())


{"desk": desk, "inbox": inbox, "web": web}[sys.argv[1]]()
