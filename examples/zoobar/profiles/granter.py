#!python
# Gives every visitor one zoobar, at most once a minute.
import errno
import sys
import time

me = api.call('get_self')
visitor = api.call('get_visitor')
path = 'last_freebie_%s_%s.dat' % (me, visitor)

if api.call('get_user_info', username=me)['zoobars'] <= 0:
    print('Sorry, I have no more zoobars')
    sys.exit(0)

visitor_has = api.call('get_user_info', username=visitor)['zoobars']
if visitor_has > 20:
    print('You have %d already; no need for more' % visitor_has)
    sys.exit(0)

last = 0.0
try:
    with open(path) as f:
        last = float(f.read())
except ValueError:
    last = 0.0
except IOError as e:
    if e.errno != errno.ENOENT:
        raise

since = time.time() - last
if since < 60:
    print('I gave you a zoobar %.1f seconds ago' % since)
    sys.exit(0)

api.call('xfer', target=visitor, zoobars=1)
print('Thanks for visiting.  I gave you one zoobar.')

with open(path, 'w') as f:
    f.write('%f\n' % time.time())
