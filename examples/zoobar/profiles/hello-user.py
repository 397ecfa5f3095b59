#!python
# Greets whoever looks at this profile, by name.
import time

print('Hello, <i>', api.call('get_visitor'), '</i>')
print('<p>Current time:', time.time())
