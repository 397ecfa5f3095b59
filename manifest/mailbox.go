package manifest

import (
	"slices"

	"cofferdam/label"

	"go.yaml.in/yaml/v4"
)

// Bounds of a mailbox, and what it has without a word.
const (
	defaultMessages    = 64
	maxMessages        = 4096
	defaultMessageSize = 64 << 10
	maxMessageSize     = 1 << 20
)

// Mailbox is a queue of messages with one label.
type Mailbox struct {
	Pos       Pos
	Name      string
	Label     label.Label
	Owner     string // the service that alone receives; "" if it is shared by put and take
	Messages  int    // how many of one sender it holds
	SizeBytes int64  // of one message
	Rate      Rates  // of each service that sends
}

func readMailboxes(r *reader, v value, a *App) {
	known := make(map[string]Pos)
	r.list(v, someMailboxes, maxList, func(v value) {
		m := Mailbox{Pos: v.pos()}
		if !mapping(r, v, aMailbox, mailboxKeys(), &m) {
			r.flawedMailboxes = true
			return
		}
		r.fitRates(v, &m.Rate, "a mailbox", "messages", "bytes")
		if at, twice := known[m.Name]; twice {
			r.refuse(v, "", "the mailbox %q stands at %s already", m.Name, r.where(at))
			return
		}
		known[m.Name] = m.Pos
		if slices.Contains(append([]string{theInternet, thePeople}, reserved...), m.Name) {
			r.refuse(v, "", "the name %q is reserved", m.Name)
			return
		}
		a.Mailboxes = append(a.Mailboxes, m)
		r.check(func(a *App) {
			if s := a.Service(m.Name); s != nil {
				r.refuse(v, "give it another name", "%q is a service, at %s", m.Name, r.where(s.Pos))
			}
		})
	})
}

func mailboxKeys() table[Mailbox] {
	return table[Mailbox]{keys: []key[Mailbox]{
		{"name", aName, true, "", "Its name in the application.", func(r *reader, v value, m *Mailbox) {
			m.Name, _ = r.name(v, aName, serviceNames)
		}},
		{"label", aLabel, false, publicLabel, "Its label, which never changes: who may send to it and who may receive.", func(r *reader, v value, m *Mailbox) {
			m.Label = r.fixedLabel(v)
		}},
		{"owner", aName, false, "shared: whoever may take from it", "The service that alone receives from it, without a grant. That a message was received is then seen by nobody else.", readOwner},
		{"messages", aCount, false, "64", "How many of one sender it holds, at most 4096; of all together twice as many. A sender is whom an instance runs for, or its service. None has more there than it leaves for the others.", func(r *reader, v value, m *Mailbox) {
			m.Messages = r.integer(v, aCount, 1, maxMessages)
		}},
		{"size", aSize, false, "64K", "Size of one message, at most 1M.", func(r *reader, v value, m *Mailbox) {
			if m.SizeBytes = r.size(v, aSize, 1); m.SizeBytes > maxMessageSize {
				r.refuse(v, "", "%s is more than %s", formatSize(m.SizeBytes), formatSize(maxMessageSize))
			}
		}},
		{"rate", someRates, false, "no limit", "Of each service that sends to it, or with per principal of each principal that one runs for: messages, or bytes.", func(r *reader, v value, m *Mailbox) {
			readRates(r, v, &m.Rate)
		}},
	}}
}

// readOwner refuses an owner of which there may be several instances, or none:
// each of them would see by what is missing what another received.
func readOwner(r *reader, v value, m *Mailbox) {
	r.peer(v, &m.Owner, func(s *Service) {
		if s.onDemand() {
			r.refuse(v, "leave owner out, and let it take: uses: [{take: "+m.Name+"}]", "%q has its instances %s, and a mailbox has one owner", s.Name, s.Instances)
		}
	})
}

func (m Mailbox) node() *yaml.Node {
	var o object
	o.add("name", text(m.Name))
	o.add("label", text(m.Label.String()))
	o.add("owner", someText(m.Owner))
	o.add("messages", count(m.Messages))
	o.add("size", text(formatSize(m.SizeBytes)))
	o.add("rate", m.Rate.node())
	return o.done()
}

// mailbox reads the name of a mailbox to send to or take from, and asks question of it.
func (r *reader) mailbox(v value, into *string, question func(*Mailbox)) {
	name, ok := r.name(v, aName, serviceNames)
	if !ok {
		return
	}
	*into = name
	r.check(func(a *App) {
		if m := a.Mailbox(name); m != nil {
			question(m)
			return
		}
		if r.flawedMailboxes {
			return
		}
		names := make([]string, len(a.Mailboxes))
		for i, m := range a.Mailboxes {
			names[i] = m.Name
		}
		hint := r.didYouMean(name, names)
		if hint == "" {
			hint = "write mailboxes: [{name: " + name + ", label: …}]"
		}
		r.refuse(v, hint, "no mailbox %q", name)
	})
}

func readPost(r *reader, v value, u *Use) { r.mailbox(v, &u.Post, func(*Mailbox) {}) }

func readPut(r *reader, v value, u *Use) {
	r.mailbox(v, &u.Put, func(m *Mailbox) {
		if m.Owner != "" {
			r.refuse(v, "write post: "+m.Name+", or leave owner out there", "%q has an owner, and whether it is full would tell what its owner received", m.Name)
		}
	})
}

func readTake(r *reader, v value, u *Use) {
	r.mailbox(v, &u.Take, func(m *Mailbox) {
		if m.Owner != "" {
			r.refuse(v, "leave owner out there, or this use here", "%q has an owner, %s, who alone receives", m.Name, m.Owner)
		}
	})
}
