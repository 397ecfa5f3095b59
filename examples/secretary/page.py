"""Alice's page. Her orders go to the planner's desk. What the planner wants approved she sees as it
will be done, and with her click it gets a capsule: certain to be from here, of use once, and for that alone.
"""
import html
import http.server
import json
import secrets
import threading
import urllib.parse

import cofferdam

MOST = 16
pending = {}  # what was asked for, by a nonce

PAGE = """<!doctype html><title>Secretary</title><h1>Secretary</h1>
<form method=post action=/order><textarea name=text rows=8 cols=60>
Pay what I owe, and see what is new.
!settle bob
!settle plumber
!news
!get /news.txt
</textarea><p><button>Order</button></form>
<h2>To approve</h2><ul>%s</ul>"""
ASKED = """<li><form method=post action=/approve>pay %s %d
<input type=hidden name=nonce value=%s><button>Approve</button></form>"""


def ask(caller, order):
    action = {"by": caller.instance, "to": str(order["to"]), "amount": int(order["amount"])}
    if len(pending) >= MOST:
        raise cofferdam.Busy()
    pending[secrets.token_hex(16)] = action


def unsealer(caller, body):
    caller.give(seal.unsealer)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = [ASKED % (html.escape(a["to"]), a["amount"], nonce) for nonce, a in list(pending.items())]
        self.reply(200, PAGE % "".join(asked))

    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.path == "/order" and "text" in form:
            desk.post(form["text"][0].encode())
        elif self.path == "/approve" and form.get("nonce", [""])[0] in pending:
            nonce = form["nonce"][0]
            action = pending.pop(nonce)
            with seal.sealer.seal(label, json.dumps({**action, "nonce": nonce}).encode()) as capsule:
                desk.post(json.dumps(action).encode(), handles=[capsule])
        else:
            return self.reply(404, "there is nothing like that")
        self.reply(303, "", ("Location", "/"))

    def reply(self, status, text, *headers):
        self.send_response(status)
        for name, value in (("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(text.encode()))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


clicks = cofferdam.connect()  # a connection is for one thread
desk, seal, label = clicks.mailbox("desk"), clicks.new_seal(), clicks.labels().label
server = http.server.HTTPServer(("", 8080), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
with cofferdam.connect() as client:
    client.serve({"ask": cofferdam.json_handler(ask), "unsealer": unsealer})
