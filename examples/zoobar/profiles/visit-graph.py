#!python
# Draws who visits whom: my visitors, and theirs if they share that. I share mine.
import html
import math

me = api.call('get_self')
api.call('share_visits', on=True)
visits = api.call('get_visits')

names = [me]
for visit in visits:
    for name in (visit['from'], visit['to']):
        if name not in names:
            names.append(name)
names = names[:25]

# Me in the middle, the others around.
places = {me: (0, 0)}
for i, name in enumerate(names[1:]):
    turn = 2 * math.pi * i / len(names[1:])
    places[name] = (190 * math.sin(turn), -150 * math.cos(turn))

print('<svg xmlns="http://www.w3.org/2000/svg" viewBox="-270 -190 540 380" width="540" height="380" font-size="13" text-anchor="middle">')
for visit in visits:
    if visit['from'] not in places or visit['to'] not in places:
        continue
    (x1, y1), (x2, y2) = places[visit['from']], places[visit['to']]
    far = math.hypot(x2 - x1, y2 - y1)
    dx, dy = (x2 - x1) / far, (y2 - y1) / far
    # From the rim of one circle to that of the other, a little to the right: there
    # may be a line back. The head is where it ends.
    x1, y1 = x1 + 26 * dx - 5 * dy, y1 + 26 * dy + 5 * dx
    x2, y2 = x2 - 26 * dx - 5 * dy, y2 - 26 * dy + 5 * dx
    width = 1 + math.log2(visit['times']) / 2
    print('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#447" stroke-width="%.1f"/>' % (x1, y1, x2 - 8 * dx, y2 - 8 * dy, width))
    print('<path d="M%.1f %.1fL%.1f %.1fL%.1f %.1fz" fill="#447"/>' % (
        x2, y2, x2 - 9 * dx + 4 * dy, y2 - 9 * dy - 4 * dx, x2 - 9 * dx - 4 * dy, y2 - 9 * dy + 4 * dx))
    print('<text x="%.1f" y="%.1f" fill="#447">%d</text>' % (x1 + 0.3 * (x2 - x1) - 11 * dy, y1 + 0.3 * (y2 - y1) + 11 * dx + 4, visit['times']))
for name, (x, y) in places.items():
    label = name if len(name) <= 8 else name[:7] + '…'
    print('<circle cx="%.1f" cy="%.1f" r="26" fill="%s" stroke="#447"/>' % (x, y, '#fe9' if name == me else '#eef'))
    print('<text x="%.1f" y="%.1f">%s</text>' % (x, y + 4, html.escape(label)))
print('</svg>')
