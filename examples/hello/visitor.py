"""Asks for one thing that is granted and for one that is not."""
import sys

sys.path.insert(0, "/app")
import cofferdam

client = cofferdam.connect()
print(client.call("greeter.greet", b"").decode())
try:
    client.call("greeter.secret", b"")
except cofferdam.Denied:
    print("greeter.secret: denied, and no way to tell whether it exists")
