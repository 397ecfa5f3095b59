package manifest

// names are the parts of an application by name, once all are known.
type names struct {
	services  map[string]*Service
	mailboxes map[string]*Mailbox
	shares    map[string]*Share
}

func namesOf(a *App) *names {
	n := &names{make(map[string]*Service), make(map[string]*Mailbox), make(map[string]*Share)}
	for _, s := range a.Services {
		n.services[s.Name] = s
	}
	for i := range a.Mailboxes {
		n.mailboxes[a.Mailboxes[i].Name] = &a.Mailboxes[i]
	}
	for i := range a.Shares {
		n.shares[a.Shares[i].Name] = &a.Shares[i]
	}
	return n
}

// Service is the service or template of that name, nil if there is none.
func (a *App) Service(name string) *Service { return a.named().services[name] }

// Mailbox is the mailbox of that name, nil if there is none.
func (a *App) Mailbox(name string) *Mailbox { return a.named().mailboxes[name] }

// Share is the share of that name, nil if there is none.
func (a *App) Share(name string) *Share { return a.named().shares[name] }

func (a *App) named() *names {
	if a.names == nil {
		return namesOf(a)
	}
	return a.names
}
