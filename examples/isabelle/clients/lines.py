"""A client that knows lines and nothing else, as the one for Rust does.

It connects anew for every command. The first line has to begin with OK, and what has arrived
with it is thrown away. From then on it reads lines, skips those that begin like
no reply, lengths among them, and takes the name of a reply off to find its value.

    python3 lines.py 'server "isabelle" = 127.0.0.1:4711 (password "...")' DIRECTORY THEORY...
"""
import json
import re
import socket
import sys

KINDS = ("OK", "ERROR", "FINISHED", "FAILED", "NOTE")


class Client:
    def __init__(self, line):
        self.address, self.password = re.match(r'server ".*" = (\S+) \(password "(\S+)"\)', line.strip()).groups()

    def connect(self):
        host, port = self.address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), timeout=120)
        connection.sendall(self.password.encode() + b"\n")
        first = connection.recv(65536)  # whatever there is
        if not first.startswith(b"OK") or first.find(b"\n") < 0:
            raise ConnectionError("the server does not let one in: %r" % first)
        return connection

    def command(self, name, argument=None, ends=("OK", "ERROR")):
        """Returns the reply that ends a command: its name and value, which is None for unit."""
        with self.connect() as connection:
            text = name if argument is None else name + " " + json.dumps(argument)
            connection.sendall(text.encode() + b"\n")
            for line in connection.makefile(encoding="utf-8", newline="\n"):
                kind = next((k for k in KINDS if line.startswith(k)), None)
                if kind in ends:
                    value = line[len(kind):].strip()
                    return kind, json.loads(value) if value else None
        raise ConnectionError("%s: the server has closed the connection" % name)

    def task(self, name, argument):
        kind, value = self.command(name, argument, ("FINISHED", "FAILED", "ERROR"))
        if kind != "FINISHED":
            raise RuntimeError("%s: %s" % (name, value))
        return value


def main(line, directory, *theories):
    client = Client(line)
    print(client.command("echo", "hello")[1], *client.command("help")[1])
    session = client.task("session_start", {"session": "HOL"})["session_id"]
    result = client.task("use_theories", {"session_id": session, "theories": theories, "master_dir": directory})
    for error in result["errors"]:
        print(error["pos"]["line"], error["message"])
    print("ok" if result["ok"] else "not ok")
    client.task("session_stop", {"session_id": session})
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
