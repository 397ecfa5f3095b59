package monitor

// Retire says that e is to be asked nothing any more: another one has taken its
// place. What it is at goes on.
func (e *Env) Retire() {
	e.retired.Store(true)
	e.mu.Lock()
	conns := make([]*conn, 0, len(e.conns))
	for c := range e.conns {
		conns = append(conns, c)
	}
	e.mu.Unlock()
	for _, c := range conns {
		e.self.unregister(c)
	}
	e.self.undial(e)
	for _, b := range e.rights.Load().policy.owned[e.id.Service] {
		b.leave(e)
	}
}

// Busy tells whether e has calls to answer, or connections lead to it.
func (e *Env) Busy() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.inbound) > 0 {
		return true
	}
	for c := range e.conns {
		c.mu.Lock()
		n := len(c.answering)
		c.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}

// undial takes e out of those that take connections.
func (s *service) undial(e *Env) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropDialer(e)
	s.notify()
}
