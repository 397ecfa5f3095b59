"""Reads alice's mail: all of it, or what she owes to somebody. Whoever wrote it may have lied, and
may even have told this program what to do: what it prints to the planner gets out if it is a number of 12 bits.
"""
import os
import pathlib
import sys

mails = "\n".join(path.read_text() for path in sorted(pathlib.Path("/mail").iterdir()))
asked = sys.stdin.readline().strip()
if os.environ["COFFERDAM_METHOD"] == "read":
    print(mails)
else:
    owed = [line for line in mails.splitlines() if line.startswith("Owed to %s: " % asked)]
    print(owed[-1].split(": ", 1)[1] if owed else 0)
