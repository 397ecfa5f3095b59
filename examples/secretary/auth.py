"""Tells the gateway who somebody is."""
import http.server
import json
import secrets
import threading
import urllib.parse

import cofferdam

PASSWORDS = {"alice": "rosebud", "mallory": "12345"}
sessions = {}  # names, by the value of a cookie

FORM = b"""<!doctype html><title>Secretary</title>
<form method=post>Name <input name=name> password <input name=password type=password> <button>Log in</button></form>"""


def check(caller, asked):
    return {"principal": sessions.get(asked["cookies"].get("session"), "")}


class Login(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply(200, FORM)

    def do_POST(self):
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        name, password = form.get("name", ""), form.get("password", "")
        if not secrets.compare_digest(password.encode(), PASSWORDS.get(name, secrets.token_hex()).encode()):
            return self.reply(403, FORM)
        session = secrets.token_hex(16)
        sessions[session] = name
        self.reply(303, b"", ("Location", "/"), ("Set-Cookie", "session=%s; Path=/; HttpOnly; SameSite=Strict" % session))

    def reply(self, status, page, *headers):
        self.send_response(status)
        for name, value in (("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *args):
        pass


server = http.server.HTTPServer(("", 8080), Login)
threading.Thread(target=server.serve_forever, daemon=True).start()
with cofferdam.connect() as client:
    client.serve({"check": cofferdam.json_handler(check)})
