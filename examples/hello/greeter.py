"""Greets whoever calls; who that is, the monitor says."""
import sys

sys.path.insert(0, "/app")
import cofferdam

client = cofferdam.connect()
client.serve({"greet": lambda caller, body: b"hello, " + caller.service.encode()})
