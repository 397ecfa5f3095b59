package monitor

import "slices"

// party is whom a mailbox counts as one sender: whom an instance runs for, and of one that runs for
// nobody its service.
type party struct{ service, principal string }

func (m *message) party() party {
	if m.from.Principal != "" {
		return party{principal: m.from.Principal}
	}
	return party{service: m.from.Service}
}

// part is what one party has in a mailbox.
type part struct{ messages, bytes int }

// line are those of one party who wait for room, in the order of their coming.
type line struct {
	of party
	row
}

// room tells whether m can be added now: there is room, and who has sent it had nothing there or has
// then no more than is left for others. So a party alone fills half of a mailbox, which is
// what it was declared to hold, and whoever comes next finds as much as anybody before has left.
//
// Nothing else depends on who else has sent, and to find it out takes the same time whatever there
// is. The caller holds mu.
func (b *mailbox) room(m *message) bool {
	messages, bytes := b.allMessages-len(b.queue)-1, b.allBytes-b.held-m.bytes
	if messages < 0 || bytes < 0 {
		return false
	}
	has := b.parts[m.party()]
	return has.messages == 0 || has.messages+1 <= messages && has.bytes+m.bytes <= bytes
}

// full is why there is no room for m, in the words of the log. The caller holds mu.
func (b *mailbox) full(m *message) string {
	if len(b.queue) < b.allMessages && b.held+m.bytes <= b.allBytes {
		return "dropped: it is full for who has sent it: he has as much there as he leaves for others"
	}
	return "dropped: it is full"
}

// push adds m. The caller holds mu, and has found that there is room.
func (b *mailbox) push(m message) {
	b.queue = append(b.queue, m)
	b.held += m.bytes
	b.received++
	has := b.parts[m.party()]
	b.parts[m.party()] = part{has.messages + 1, has.bytes + m.bytes}
}

// pop takes the first message out and lets those in that wait for room. The
// caller holds mu, and has seen that there is one.
func (b *mailbox) pop() message {
	m := b.queue[0]
	b.queue[0] = message{}
	b.queue = b.queue[1:]
	b.held -= m.bytes
	if has := b.parts[m.party()]; has.messages > 1 {
		b.parts[m.party()] = part{has.messages - 1, has.bytes - m.bytes}
	} else {
		delete(b.parts, m.party())
	}
	b.enter()
	return m
}

// empty forgets all messages. The caller holds mu.
func (b *mailbox) empty() {
	b.queue, b.held = nil, 0
	clear(b.parts)
}

// mayEnter tells whether w, which does not wait yet, is the next to whom room is given. The caller
// holds mu.
func (b *mailbox) mayEnter(w *wait) bool {
	for _, l := range b.lines {
		if l.of == w.message.party() || b.parts[l.of].messages == 0 {
			return false
		}
	}
	return b.room(&w.message)
}

// lineUp lets w wait for room. The caller holds mu.
func (b *mailbox) lineUp(w *wait) {
	i := slices.IndexFunc(b.lines, func(l *line) bool { return l.of == w.message.party() })
	if i < 0 {
		i = len(b.lines)
		b.lines = append(b.lines, &line{of: w.message.party()})
	}
	b.lines[i].add(w)
}

// leaveLine takes w out of the lines, if it stands there. The caller holds mu.
func (b *mailbox) leaveLine(w *wait) {
	i := slices.IndexFunc(b.lines, func(l *line) bool { return &l.row == w.place.row })
	if i < 0 {
		return
	}
	l := b.lines[i]
	l.remove(w)
	if l.count == 0 {
		b.lines = slices.Delete(b.lines, i, i+1)
	}
}

// enter moves messages of those who wait for room into the queue: of one party in their order, of
// several in turn. For one that has nothing there the others wait, so that a large
// message is not always behind small ones. The caller holds mu, and calls serve afterwards.
func (b *mailbox) enter() {
	for i := 0; i < len(b.lines); {
		l := b.lines[i]
		w := l.first
		if !b.room(&w.message) {
			if b.parts[l.of].messages == 0 {
				return
			}
			i++
			continue
		}
		b.lines = slices.Delete(b.lines, i, i+1)
		if l.remove(w); l.count > 0 {
			b.lines = append(b.lines, l)
		}
		w.done = true
		if w.claim() {
			b.push(w.message)
		}
		b.entered = append(b.entered, w)
	}
}
