#!python
# Shows the last three visitors.
import errno
import time

KEEP = 3
path = 'last_visits_%s.dat' % api.call('get_self')

visits = []
try:
    with open(path) as f:
        visits = f.read().splitlines()
except IOError as e:
    if e.errno != errno.ENOENT:
        raise

visits.insert(0, '%s at %d' % (api.call('get_visitor'), int(time.time())))
visits = visits[:KEEP]

print('Last 3 visitors:')
print(' <ul>')
for visit in visits:
    print('<li>', visit, '</li>')
print('</ul>')

with open(path, 'w') as f:
    f.write('\n'.join(visits) + '\n')
