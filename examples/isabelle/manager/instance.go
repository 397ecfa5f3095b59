package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"cofferdam/examples/isabelle/protocol"
)

// instance is what runs for one tenant, from when it is reached until it is let go:
// nobody is connected to it any more, and therefore it ends.
//
// One connection, the keeper, lasts as long as it does. Over that it is asked
// whether it still answers, and sessions are stopped that nobody uses.
type instance struct {
	house   *house
	name    string // its own, so that it is not taken for another one
	tmpdir  string // of the tenant's directory for sessions, as the instance sees it
	version protocol.Message
	paths   *Table
	keeper  *upstream
	log     *slog.Logger
	ended   context.Context // when it is let go; its cause is why
	finish  context.CancelCauseFunc

	mu       sync.Mutex
	ending   bool // end was called
	ups      map[*upstream]struct{}
	sessions map[string]*session
	starting int       // sessions
	since    time.Time // when it was last of use to somebody
}

// session is one that the instance has told of.
type session struct {
	tmp  string // its directory, on the host
	uses int    // tasks that are about it
	used time.Time
}

// An instance has the directories of its sessions in sessionsDir. That is one of the tenant's,
// SessionsIn in the tenant's own, so that clients reach them.
const (
	sessionsDir = "/tmp/sessions"
	SessionsIn  = ".isabelle"
)

var (
	errLost = words("The server was lost")
	errIdle = errors.New("nobody uses it")
	errStop = errors.New("shut down by its tenant")

	errReplaced = errors.New("another one has taken its place")
)

// open reaches the instance of a tenant, and shows it the tenant's directories.
func (h *house) open(ctx context.Context) (*instance, error) {
	i := &instance{
		house: h, log: h.log, since: h.m.now(),
		ups: make(map[*upstream]struct{}), sessions: make(map[string]*session),
	}
	i.ended, i.finish = context.WithCancelCause(context.Background())
	conn, err := h.m.Backend.Dial(ctx, h.tenant.Name)
	if err != nil {
		return nil, err
	}
	i.keeper = newUpstream(i, conn, func(protocol.Message) {})
	if err := i.furnish(ctx); err != nil {
		abort(conn)
		return nil, err
	}
	i.ups[i.keeper] = struct{}{}
	go func() {
		i.end(fmt.Errorf("the keeper's connection: %w", i.keeper.run()))
	}()
	go i.keep()
	i.log.Info("instance", "event", "reached", "version", i.version.Argument)
	return i, nil
}

// furnish shows the instance the tenant's directories, once it has spoken and so is
// there.
func (i *instance) furnish(ctx context.Context) (err error) {
	t := i.house.tenant
	if i.name, err = i.keeper.meet(); err != nil {
		return err
	}
	if i.name == i.house.gone() {
		return hung("it was let go and has not ended")
	}
	var places []Place
	for _, dir := range t.Directories {
		inside, err := i.house.m.Backend.Mount(ctx, t.Name, dir)
		if err != nil {
			return fmt.Errorf("mount %q: %w", dir, err)
		}
		places = append(places, Place{Host: dir, Inside: inside})
	}
	own := places[0]
	i.tmpdir = own.Inside + "/" + SessionsIn
	i.paths = NewTable(append(places, Place{Host: own.Host + "/" + SessionsIn, Inside: sessionsDir})...)
	i.version, err = i.keeper.greet(i.tmpdir)
	return err
}

// connect makes one more connection to the instance, for a client.
func (i *instance) connect(ctx context.Context, note func(protocol.Message)) (*upstream, error) {
	conn, err := i.house.m.Backend.Dial(ctx, i.house.tenant.Name)
	if err != nil {
		return nil, err
	}
	u := newUpstream(i, conn, note)
	name, err := u.meet()
	if err == nil && name != i.name {
		err = errReplaced
	}
	if err == nil {
		_, err = u.greet(i.tmpdir)
	}
	var wrong *fault
	if errors.As(err, &wrong) || err == errReplaced {
		i.end(err)
	}
	if err != nil {
		abort(conn)
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended.Err() != nil {
		abort(conn)
		return nil, errLost
	}
	i.ups[u] = struct{}{}
	go i.serve(u)
	return u, nil
}

// serve reads what comes over a client's connection to its end. That only one
// connection ends is possible: then the others, and all sessions, go on.
func (i *instance) serve(u *upstream) {
	err := u.run()
	var wrong *fault
	switch {
	case errors.As(err, &wrong):
		i.end(err)
	case u.isClosed(): // by us
	default:
		i.check()
	}
	i.part(u)
}

// check finds out whether the instance is lost, when something went wrong.
func (i *instance) check() {
	if err := i.ask(); err != nil {
		i.end(err)
	}
}

// part closes a connection of a client.
func (i *instance) part(u *upstream) {
	i.mu.Lock()
	delete(i.ups, u)
	i.mu.Unlock()
	u.close(errLost)
}

// ask finds out whether the instance still answers. It returns nil if it does.
func (i *instance) ask() error {
	answered := make(chan protocol.Message, 1)
	s := &sent{plan: plan{name: "echo", argument: "still there?"}, answered: func(m protocol.Message) { answered <- m }}
	if err := i.keeper.send(s); err != nil {
		return fmt.Errorf("the keeper's connection: %w", err)
	}
	select { // that it is not answered in time ends the instance
	case m := <-answered:
		if i.ended.Err() != nil {
			return context.Cause(i.ended)
		}
		if m != protocol.Reply(protocol.OK, s.argument) {
			return lie("an echo that is none")
		}
		return nil
	case <-i.ended.Done():
		return context.Cause(i.ended)
	}
}

// keep looks after the instance until it has ended.
func (i *instance) keep() {
	tick := time.NewTicker(i.house.m.Limits.Ping)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-i.ended.Done():
			return
		}
		if err := i.ask(); err != nil {
			i.end(err)
			return
		}
		if i.tidy() {
			i.end(errIdle)
			return
		}
	}
}

// tidy stops sessions that nobody has used for long, and tells whether nobody uses
// the instance either.
func (i *instance) tidy() (idle bool) {
	clients := i.house.inUse()
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.house.m.now()
	for id, s := range i.sessions {
		if s.uses == 0 && now.Sub(s.used) > i.house.m.Limits.Session {
			i.log.Info("session", "event", "stopped, nobody uses it", "session", id)
			delete(i.sessions, id)
			go i.keeper.send(&sent{
				plan: plan{name: "session_stop", argument: protocol.SessionID{ID: id}.Object(), async: true},
				task: newUUID(), answered: func(protocol.Message) {},
			})
		}
	}
	if clients || len(i.sessions) > 0 || i.starting > 0 {
		i.since = now
	}
	return now.Sub(i.since) > i.house.m.Limits.Instance
}

// end lets the instance go, and says why to whoever waits for something of it. When it
// returns, the tenant has no instance, or the next one.
func (i *instance) end(why error) {
	i.mu.Lock()
	if i.ending {
		i.mu.Unlock()
		<-i.ended.Done()
		return
	}
	i.ending = true
	i.mu.Unlock()
	i.house.lost(i, why) // before anybody hears of it and wants the next one
	i.mu.Lock()
	i.finish(why)
	ups := i.ups
	i.ups, i.sessions = nil, map[string]*session{}
	i.mu.Unlock()
	event := "lost"
	var wrong *fault
	switch {
	case errors.As(why, &wrong):
		event = wrong.kind
	case why == errIdle || why == errStop:
		event = "let go"
	}
	i.log.Warn("instance", "event", event, "why", why.Error())
	for u := range ups {
		go u.close(errLost) // each waits for its client to take the news
	}
}

// issued tells whether the instance has told of a session with this id.
func (i *instance) issued(id string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.sessions[id] != nil
}

// tmp is the directory of a session on the host, "" if there is no such session.
func (i *instance) tmp(id string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.sessions[id]; s != nil {
		return s.tmp
	}
	return ""
}

// use counts a task that is about a session, and tells whether that is there. It
// is, until the task is over.
func (i *instance) use(id string) (done func(), ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.sessions[id]
	if s == nil {
		return nil, false
	}
	s.uses++
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		s.uses--
		s.used = i.house.m.now()
	}, true
}

// reserve counts a session that is to start, unless there are too many.
func (i *instance) reserve() (done func(), ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.sessions)+i.starting >= i.house.m.Limits.Sessions {
		return nil, false
	}
	i.starting++
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.starting--
	}, true
}

// told notes which sessions there are, by what comes of a command.
func (i *instance) told(s *sent, kind string, value any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	o, _ := value.(protocol.Object)
	switch {
	case s.name == "session_start" && kind == protocol.Finished:
		id, _ := protocol.UUID(o.Text("session_id"))
		i.sessions[id] = &session{tmp: i.paths.Host(o.Text("tmp_dir")), used: i.house.m.now()}
	case s.name == "session_stop" && (kind == protocol.Finished || kind == protocol.Failed):
		delete(i.sessions, s.session)
	}
}
