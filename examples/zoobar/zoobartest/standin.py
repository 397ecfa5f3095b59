"""Stands in for cofferdam.py in tests without a monitor. Trusted: no."""

import json
import os
import socket


class Failed(Exception):
    pass


_socket = socket.socket(socket.AF_UNIX)
_socket.connect(os.environ["COFFERDAM_SOCKET"])
_lines = _socket.makefile("rw")


def call_json(name, args=None):
    _lines.write(json.dumps([name, args]) + "\n")
    _lines.flush()
    error, result = json.loads(_lines.readline())
    if error is not None:
        raise Failed(error)
    return result
