"""A player that wants to know the other's move before it makes its own.

It is shown that move, sealed, if the other has played already. It says on stdout
what it tried and what came of it: nobody but the referee gets to read that.
"""
import sys

sys.path.insert(0, "/app")
import cofferdam

me = cofferdam.connect()
mine = me.labels()
beats = {"rock": "paper", "paper": "scissors", "scissors": "rock"}
move = "rock"


def attempt(what, do):
    """Prints how do() ended, and plays what beats the move if it gave one."""
    global move
    try:
        got = do()
    except cofferdam.Error as e:
        print(what, "->", type(e).__name__)
        return
    print(what, "->", "WORKED", got)
    if isinstance(got, bytes) and got.decode() in beats:
        move = beats[got.decode()]


theirs = mine.handles[1].value() if len(mine.handles) > 1 else None
if theirs:
    table = cofferdam.Label("(player1 & player2) | server %% True")
    attempt("unseal", theirs.unseal)
    attempt("unseal with what I own", lambda: theirs.unseal(out=mine.owns))
    attempt("unseal with what the server owns", lambda: theirs.unseal(out=cofferdam.Formula("server")))
    attempt("unseal, raised", lambda: theirs.unseal(raise_=True, force=True))
    attempt("relabel to my own", lambda: theirs.relabel(mine.label, out=mine.owns).unseal())
    attempt("lower what it is", lambda: theirs.relabel(cofferdam.Label(), out=mine.owns).unseal())
    attempt("receive from the table", lambda: mine.handles[0].mailbox().recv(timeout=0.1))
    attempt("take from the table", lambda: mine.handles[0].mailbox().take(timeout=0.1))
    attempt("raise me to the table", lambda: (me.raise_(table), theirs.unseal())[1])
    attempt("receive from the table of all", lambda: me.mailbox("table").recv(timeout=0.1))

sealed = me.seal(me.labels().label, move.encode())
mine.handles[0].mailbox().post(handles=[sealed])
