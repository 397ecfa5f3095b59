"""Says that it is an Isabelle server, and then what none says: what the session is called."""
import json, socket, threading

TASK = "00000000-0000-4000-8000-000000000001"


def serve(conn):
    lines = conn.makefile("rwb", buffering=0)
    lines.readline()  # the password
    lines.write(b'OK {"isabelle_id":"liar","isabelle_name":"Isabelle2025"}\n')
    for line in lines:
        name, _, argument = line.decode().strip().partition(" ")
        if name != "session_start":
            lines.write(("OK " + argument + "\n").encode())
            continue
        started = ('OK {"task":"%s"}\n' % TASK).encode()
        lines.write(started + {
            "garbage": b"\0\xff\x05\x06 nothing {\n",
            "ok": b"OK\n",
            "finished": b'FINISHED {"task":"00000000-0000-4000-8000-000000000002"}\n',
            "huge": b"4000000000\n",
            "session": b'FINISHED {"session_id":"../alice","tmp_dir":"/","task":"%s"}\n' % TASK.encode(),
        }[json.loads(argument)["session"]])


with socket.create_server(("127.0.0.1", 0)) as server:
    print('server "isabelle" = 127.0.0.1:%d (password "p")' % server.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
