#!python
# Tells visitors about the first transfer between them and me.
import sys

me = api.call('get_self')
visitor = api.call('get_visitor')

for xfer in api.call('get_xfers', username=me):
    if xfer['sender'] == visitor:
        print('You gave me', xfer['amount'], 'zoobars @', xfer['time'])
        sys.exit(0)
    if xfer['recipient'] == visitor:
        print('I gave you', xfer['amount'], 'zoobars @', xfer['time'])
        sys.exit(0)

print('We never exchanged zoobars!')
