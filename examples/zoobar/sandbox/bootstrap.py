"""Runs one profile: what /run/profile.py says, with `api` at hand.

The profile is an ordinary Python program. It finds `api` as a global and as
`import api`, its own files in the current directory, which is /data, and
prints HTML. Nothing here guards anything: the sandbox is around this process.

Trusted: no.
"""

import sys

sys.path.insert(0, "/zoobar")

import api  # noqa: E402 (the line above is how it is found)

PROFILE = "/run/profile.py"


def main():
    with open(PROFILE, "rb") as f:
        code = compile(f.read(), PROFILE, "exec")
    sys.argv = [PROFILE]
    # What the program says is text for a page: what is no text becomes "?".
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    exec(code, {"__name__": "__main__", "__file__": PROFILE, "api": api})


main()
