#!python
# Tells visitors how often they have been here, and when last.
import errno
import time

me = api.call('get_self')
visitor = api.call('get_visitor')
path = 'last_visit_%s_%s.dat' % (me, visitor)

count, last = 0, 'never'
try:
    with open(path) as f:
        count = int(f.readline())
        last = float(f.readline())
except ValueError:
    count, last = 0, 'never'
except IOError as e:
    if e.errno != errno.ENOENT:
        raise

print('Hello, <i>', visitor, '</i>')
print('<p>Your visit count:', count)
print('<p>Your last visit:', last)

with open(path, 'w') as f:
    f.write('%d\n%f\n' % (count + 1, time.time()))
