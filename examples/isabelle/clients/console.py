"""A console: one connection, and whoever sits at it types commands.

    python3 console.py 'server "isabelle" = 127.0.0.1:4711 (password "...")'

Several tasks may run at once; what they say is told apart by their ids. At the end of
the input it waits for those that still run, unless they take longer than a minute.
"""
import json
import re
import socket
import sys
import threading


class Console:
    """One connection. Replies are printed as they come."""

    def __init__(self, line, out=sys.stdout):
        host, port, password = re.match(r'server ".*" = (.*):(\d+) \(password "(.*)"\)', line.strip()).groups()
        self.connection = socket.create_connection((host, int(port)), timeout=600)
        self.file, self.out = self.connection.makefile("rwb"), out
        self.asked = self.answered = 0
        self.running = set()
        self.change = threading.Condition()
        self.send(password)
        self.show(self.receive())
        threading.Thread(target=self.listen, daemon=True).start()

    def send(self, text):
        data = text.encode()
        if len(data) > 100 or b"\n" in data:
            data = b"%d\n%s" % (len(data) + 1, data)
        self.file.write(data + b"\n")
        self.file.flush()

    def receive(self):
        line = self.file.readline()
        if not line:
            raise EOFError
        text = line.rstrip(b"\r\n")
        if text.isdigit():
            text = self.file.read(int(text)).rstrip(b"\r\n")
        return text.decode()

    def show(self, text):
        print(text, file=self.out, flush=True)

    def listen(self):
        try:
            while True:
                text = self.receive()
                self.show(text)
                kind, _, value = text.partition(" ")
                value = json.loads(value) if value else None
                task = value.get("task") if isinstance(value, dict) else None
                with self.change:
                    if kind in ("OK", "ERROR"):
                        self.answered += 1
                    if kind == "OK" and task:
                        self.running.add(task)
                    if kind in ("FINISHED", "FAILED"):
                        self.running.discard(task)
                    self.change.notify_all()
        except (EOFError, OSError):
            with self.change:
                self.answered, self.running = self.asked, set()
                self.change.notify_all()

    def command(self, text):
        """Sends a command and waits for its answer, not for the end of its task."""
        with self.change:
            self.asked += 1
        self.send(text)
        with self.change:
            self.change.wait_for(lambda: self.answered >= self.asked, 60)

    def wait(self):
        with self.change:
            return self.change.wait_for(lambda: not self.running, 60)


def main(line):
    console = Console(line)
    for text in sys.stdin:
        if text.strip():
            console.command(text.rstrip("\n"))
    return 0 if console.wait() else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
