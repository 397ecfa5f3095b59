"""A player that plays for the other, twice, and with handles that it guesses."""
import struct
import sys

sys.path.insert(0, "/app")
import cofferdam

me = cofferdam.connect()
mine = me.labels()
table = mine.handles[0].mailbox()


def attempt(what, do):
    try:
        print(what, "->", "WORKED", do())
    except cofferdam.Error as e:
        print(what, "->", type(e).__name__)


other = "player2" if "player1" in str(mine.label) else "player1"
attempt("seal as the other", lambda: me.seal(cofferdam.Label(other + " | server %% True"), b"rock"))
attempt("own what the other owns", lambda: me.delegate(cofferdam.Formula(other + " | server")))
attempt("own what the server owns", lambda: me.delegate(cofferdam.Formula("server")))
found = []
for number in range(1, 500):
    handle = cofferdam.Handle(me, struct.pack("<Q", number))
    if handle._raw in [h._raw for h in mine.handles]:
        continue
    try:
        handle.value().unseal()
        found.append(number)
    except cofferdam.Denied:
        pass
print("guess handles ->", "WORKED" if found else "nothing", found)

table.post(handles=[me.seal(mine.label, b"paper")])
table.post(handles=[me.seal(mine.label, b"scissors")])  # and changes its mind: too late
