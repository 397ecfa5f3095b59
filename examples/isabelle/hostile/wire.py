"""What Wire.thy has a program do: finds the monitor's socket and says what comes to mind."""
import glob
import os
import socket

paths = [p for p in (os.environ.get("COFFERDAM_SOCKET"),) if p] + glob.glob("/run/*/*") + glob.glob("/run/*")
print("sockets", sorted(set(paths)))
for path in set(paths):
    for what in (os.urandom(4096), b"\0" * 4096, b"\xff" * 4096, b"COFFERDAM for 616c696365\n"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(1)
        try:
            s.connect(path)
            s.sendall(what)
            print(path, "answers", s.recv(4096)[:40])
        except OSError as e:
            print(path, "refused", e)
