"""Has the words of a secret counted by somebody who must not tell it."""
import sys

import cofferdam

me = cofferdam.labels()
if not me.handles:  # alice, who owns what is hers
    draft = cofferdam.seal("alice %% True", b"we meet at the harbour")
    with cofferdam.start(sys.argv[1], "alice %% True", label="alice %% True", handles=[draft]) as result:
        exit = result.wait(out="alice")  # she may release what is hers
    print("words:", exit.stdout.decode(), exit.stderr.decode())
else:  # a counter, whom nobody trusts
    text = me.handles[0].value().unseal()
    print(len(text.split()), end="")
    try:
        cofferdam.mailbox("world").post(text)
    except cofferdam.LabelError as e:
        print(e, file=sys.stderr, end="")
