"""A client that connects anew for every command, as the usual one for Python does.

Password and command go out in one write. Of what comes back, a line of digits says how
many bytes follow; any other line is the message. A command that takes its time is
read until FINISHED, FAILED or ERROR, any other until OK or ERROR, and then the
connection is dropped without a word.

    python3 anew.py 'server "isabelle" = 127.0.0.1:4711 (password "...")' DIRECTORY THEORY...
    python3 anew.py SERVER-LINE --text 'lemma "A --> A" by simp'
"""
import asyncio
import contextlib
import json
import re
import secrets
import sys

LINE = re.compile(r'server ".*" = (.*):(\d+) \(password "(.*)"\)')
TASKS = {"session_build", "session_start", "session_stop", "use_theories"}


class Client:
    """What is behind a server's line."""

    def __init__(self, line):
        found = LINE.match(line.strip())
        if not found:
            raise ValueError("not the line of a server: %r" % line)
        self.host, self.port, self.password = found[1], int(found[2]), found[3]

    async def command(self, name, argument=None):
        """Returns all replies to a command, each as its name and its value."""
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 30)
        try:
            text = name if argument is None else "%s %s" % (name, json.dumps(argument))
            writer.write(("%s\n%s\n" % (self.password, text)).encode())
            await writer.drain()
            welcome = await message(reader)
            if not welcome.startswith("OK"):
                raise ConnectionError("not let in")
            replies = []
            ends = {"FINISHED", "FAILED", "ERROR"} if name in TASKS else {"OK", "ERROR"}
            while not replies or replies[-1][0] not in ends:
                kind, _, value = (await message(reader)).partition(" ")
                replies.append((kind, json.loads(value) if value else None))
            return replies
        finally:
            writer.transport.abort()  # nobody says goodbye

    async def end(self, name, argument=None):
        """Returns the value of the last reply, if that is a good one."""
        kind, value = (await self.command(name, argument))[-1]
        if kind not in ("OK", "FINISHED"):
            raise RuntimeError("%s: %s" % (name, value.get("message") if isinstance(value, dict) else value))
        return value

    async def session_start(self, session="Main"):
        """Returns the id and the directory of a new session."""
        value = await self.end("session_start", {
            "session": session, "preferences": "", "options": [], "dirs": [], "include_sessions": [], "verbose": False, "print_mode": []})
        return value["session_id"], value["tmp_dir"]

    async def use_theories(self, session, theories, directory=None):
        """Returns what came of theories."""
        argument = {"session_id": session, "theories": theories, "pretty_margin": 76, "unicode_symbols": False, "export_pattern": ""}
        if directory is not None:
            argument["master_dir"] = directory
        return await self.end("use_theories", argument)

    async def session_stop(self, session):
        return await self.end("session_stop", {"session_id": session})

    async def check(self, text, session="Main"):
        """Checks the body of a theory, in a file of the session's own directory."""
        session, directory = await self.session_start(session)
        try:
            name = "T" + secrets.token_hex(16)
            with open("%s/%s.thy" % (directory, name), "w", encoding="utf-8") as file:
                file.write("theory %s imports Main\nbegin\n%s\nend\n" % (name, text))
            return await self.use_theories(session, [name], directory)
        finally:
            await self.session_stop(session)


async def message(reader):
    line = await reader.readline()
    if not line:
        raise ConnectionError("the server has closed the connection")
    if re.match(rb"\d+\r?\n\Z", line):
        line = await reader.readexactly(int(line))
    return line.decode().strip()


def report(result):
    """Prints what came of theories, as people want to read it."""
    for node in result["nodes"]:
        for said in node["messages"]:
            where = said.get("pos", {})
            print("%s:%s: %s: %s" % (where.get("file", node["node_name"]), where.get("line", "?"), said["kind"], said["message"]))
    print("ok" if result["ok"] else "not ok")
    return 0 if result["ok"] else 1


async def main(line, *rest):
    client = Client(line)
    if rest[:1] == ("--text",):
        return report(await client.check(rest[1]))
    directory, theories = rest[0], list(rest[1:])
    session, _ = await client.session_start("HOL")
    try:
        return report(await client.use_theories(session, theories, directory))
    finally:
        with contextlib.suppress(RuntimeError):  # of a server that was lost
            await client.session_stop(session)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    try:
        sys.exit(asyncio.run(main(*sys.argv[1:])))
    except (RuntimeError, OSError) as error:
        sys.exit("%s: %s" % (type(error).__name__, error))
