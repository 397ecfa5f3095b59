package monitor

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/audit"
	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// SharesDir is where directories of the host appear inside.
const SharesDir = "/shares"

// mountTimeout bounds what is asked of a Mounter, which waits for no program.
const mountTimeout = 10 * time.Second

// Share is a directory of the host that may be mounted, and all that lies
// beneath it.
type Share struct {
	Name      string
	From      string   // absolute and clean
	Root      *os.File // From, once opened; nil where nothing is mounted, as for explanations
	Writable  bool
	SizeBytes int64       // of a writable one
	Label     label.Label // of all that is in it, and of what is there
}

// open opens dir, which is s or lies beneath it. The kernel walks from the root of the share,
// which was opened once: no link is followed, nothing outside is reached
// whatever is renamed meanwhile, and no other file system is entered, which
// could be one that never answers.
func (s *Share) open(dir string) (*os.File, error) {
	if s.Root == nil {
		return nil, errors.New("the share is not there")
	}
	name := "." + dir[len(s.From):]
	fd, err := unix.Openat2(int(s.Root.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, fmt.Errorf("no directory there that can be reached without links: %w", err)
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// Mounter shows directories of the host in one instance. That it may has been
// decided.
type Mounter interface {
	Mount(ctx context.Context, dir *os.File, target string, writable bool, sizeBytes int64) error
	Unmount(ctx context.Context, target string) error
}

// Mounting says how directories are shown in e.
func (e *Env) Mounting(by Mounter) {
	e.mounts.mu.Lock()
	defer e.mounts.mu.Unlock()
	e.mounts.by = by
	e.mountable.Store(true)
}

// mounts are the directories that one environment is shown.
type mounts struct {
	mu     sync.Mutex // also held while by is asked, so that what it does is in order
	by     Mounter
	closed bool
	at     map[string]*mount // by alias
}

// mount is one of them. Another directory at the same path is another mount:
// while it is mounted, device and inode belong to no other.
type mount struct {
	lasting
	share *Share
	dir   string // on the host
	by    map[asker]struct{}
}

// asker is who has a reference to a mount: an environment, or a client of one.
type asker struct {
	env    *Env
	client string
}

// reference is what an environment has asked for and not taken back.
type reference struct {
	in     *Env
	alias  string
	client string
}

// references are those of one environment, with the directories that they are of.
type references struct {
	mu     sync.Mutex // taken after mounts.mu, and last
	closed bool
	dirs   map[reference]string
}

// take reports OK if there is room for one more.
func (r *references) take(ref reference, dir string) wire.Code {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return wire.Unavailable
	case len(r.dirs) >= MaxReferences:
		return wire.Busy
	}
	if r.dirs == nil {
		r.dirs = make(map[reference]string)
	}
	r.dirs[ref] = dir
	return wire.OK
}

func (r *references) give(ref reference) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.dirs, ref)
}

// matching lists those that a request speaks of.
func (r *references) matching(e *Env, req *wire.Mount) (refs []reference) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ref, dir := range r.dirs {
		if dir == req.Dir && ref.client == req.Client && ref.in.isMeant(e, req) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// isMeant tells whether e is one that a request of by speaks of.
func (e *Env) isMeant(by *Env, req *wire.Mount) bool {
	if req.Into == "" {
		return e == by
	}
	return e.id.Service == req.Into && e.id.Principal == req.Principal
}

// mounting is a request to mount or unmount. It cannot be withdrawn: it is a
// short one, and what it has done can be undone by another.
type mounting struct{}

func (mounting) cancel() {}

// mount takes a request to mount or unmount and does it beside the reader: a
// file system may be slow.
func (c *conn) mount(f *wire.Frame) bool {
	e, id := c.env, f.ID
	req, err := wire.ParseMount(f.Body)
	if err != nil {
		return c.reply(id, wire.Malformed, errorText(err))
	}
	r := &mounting{}
	if code := c.ask(id, r); code != wire.OK {
		return code != wire.Malformed && c.reply(id, code, nil)
	}
	if !e.startMounting() {
		c.settle(id, r, wire.Busy, nil)
		return true
	}
	do := e.mount
	if f.Op == wire.OpUnmount {
		do = e.unmount
	}
	go func() {
		defer e.endMounting()
		code, target := do(&req)
		c.settle(id, r, code, []byte(target))
	}()
	return true
}

// startMounting counts a request against maxMounting.
func (e *Env) startMounting() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.mounting >= maxMounting {
		return false
	}
	e.mounting++
	return true
}

func (e *Env) endMounting() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mounting--
}

// mount decides whether e may have the directory shown, and does it. Refused
// and absent are the same answer; and of what lies outside of the shares that
// e was granted nothing is even looked at.
//
// A refusal for a label that e may know of says all; that an instance may not be
// shown it at the label that it has, or may not be known of, is as if there was none.
func (e *Env) mount(req *wire.Mount) (wire.Code, string) {
	has := e.rights.Load()
	v, share := has.decideMount(e, opMount, req)
	var dir *os.File
	var st unix.Stat_t
	var labels *audit.Labels
	if v.Allowed {
		labels = labelsOf(e.at(), label.Privileges{}, guard.Endpoint{Request: share.Label, Answer: share.Label})
		if err := e.mayShow(has, share, req); err != nil {
			e.m.concludeFor(e, e.whom(req.Principal), opMount, objectOf(req), 0, Verdict{Rule: v.Rule + ": " + err.Error()}, forWhom(req.Principal), labels)
			code, text := answerOf(nil, err)
			return code, string(text)
		}
		var err error
		if dir, err = share.open(req.Dir); err == nil {
			defer dir.Close()
			err = unix.Fstat(int(dir.Fd()), &st)
		}
		if err != nil {
			v = Verdict{Rule: v.Rule + ": " + err.Error()}
		}
	}
	if e.m.concludeFor(e, e.whom(req.Principal), opMount, objectOf(req), 0, v, forWhom(req.Principal), labels) != nil {
		return wire.Denied, ""
	}
	in, done, code := e.wake(req)
	if code != wire.OK {
		return code, ""
	}
	defer done()
	alias := e.m.alias(in, req.Dir, &st)
	if code := in.show(share, dir, alias, req.Dir, asker{e, req.Client}); code != wire.OK {
		return code, ""
	}
	if e.rights.Load() != has {
		e.cutUngranted()
	}
	return wire.OK, path.Join(SharesDir, alias)
}

// wake returns the instance that a request speaks of, which is started if it is that of
// a principal and there is none, and does not end, unless by itself, before done is
// called. What e may not know of is as if there was none.
func (e *Env) wake(req *wire.Mount) (in *Env, done func(), code wire.Code) {
	done = func() {}
	if into := e.rights.Load().policy.services[req.Into]; into != nil && into.Instances == PerPrincipal {
		as, err := into.of(req.Principal)
		if err != nil || !as.Flow.Label.FlowsTo(e.at().Label) {
			return nil, nil, wire.Unavailable
		}
		ctx, cancel := context.WithTimeout(context.Background(), DefaultDeadline)
		defer cancel()
		asked, had := e.turn(ctx, into.Name, req.Principal)
		done, err = e.m.spawner.Instance(asked, into.Name, Key{req.Principal, as.Flow})
		if had(); err != nil {
			return nil, nil, codeOf(err)
		}
	}
	if in = e.m.meant(e, req); in == nil || !in.at().Label.FlowsTo(e.at().Label) {
		done()
		return nil, nil, wire.Unavailable
	}
	return in, done, wire.OK
}

// mayShow tells whether e may know what is in a share, and say to whoever is to be
// shown it that it is there.
func (e *Env) mayShow(has *rights, share *Share, req *wire.Mount) error {
	if req.Into == "" {
		return e.at().Mount(share.Label, share.Writable)
	}
	if err := e.at().Read(label.Privileges{}, share.Label); err != nil {
		return err
	}
	return e.mayChange(has, req)
}

// mayChange tells whether the instance that a request speaks of may see what e does, and
// whether e may speak of it: of a service with an instance for each principal that is
// its own principal's, unless the grant is for anyone.
func (e *Env) mayChange(has *rights, req *wire.Mount) error {
	into := has.policy.services[req.Into]
	if into.Instances == PerPrincipal {
		object, _ := has.policy.shareOf(objectOf(req))
		switch {
		case req.Principal == "":
			return refused("%s has an instance for each principal, and none is named", into.Name)
		case !e.speaksFor(has, object, req.Principal):
			return refused("%s has an instance for each principal, and %q is not the one that you run for", into.Name, req.Principal)
		}
	}
	as, err := into.of(req.Principal)
	if err != nil {
		return refused("%s: %v", into.Name, err)
	}
	return e.at().Tell(as.Flow.Label)
}

// speaksFor tells whether e may speak of the instance of a principal, by its grant for
// object.
func (e *Env) speaksFor(has *rights, object, principal string) bool {
	return principal == e.id.Principal || has.grants[KindShare][object].ForAnyone
}

// meant is the newest instance that a request of e speaks of and that runs, nil
// if there is none.
func (m *Monitor) meant(e *Env, req *wire.Mount) (newest *Env) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.envs {
		if o.mountable.Load() && o.isMeant(e, req) && (newest == nil || o.number > newest.number) {
			newest = o
		}
	}
	return newest
}

// alias is the name of a directory inside. It tells nothing of the path, not
// even that it is the same as elsewhere, and has no place for a "..".
func (m *Monitor) alias(in *Env, dir string, st *unix.Stat_t) string {
	h := hmac.New(sha256.New, m.aliasKey[:])
	h.Write([]byte(in.id.Instance + "\x00" + dir + "\x00"))
	h.Write(binary.LittleEndian.AppendUint64(nil, st.Dev))
	h.Write(binary.LittleEndian.AppendUint64(nil, st.Ino))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// show gives by a reference to a directory in e: the one it has, one more to
// what is mounted, or the first to what is mounted now.
func (e *Env) show(share *Share, dir *os.File, alias, name string, by asker) wire.Code {
	e.mounts.mu.Lock()
	defer e.mounts.mu.Unlock()
	m := e.mounts.at[alias]
	if m != nil {
		if _, has := m.by[by]; has {
			return wire.OK
		}
	}
	switch {
	case e.mounts.closed:
		return wire.Unavailable
	case m == nil && len(e.mounts.at) >= MaxMounts:
		return wire.Busy
	}
	ref := reference{e, alias, by.client}
	if code := by.env.references.take(ref, name); code != wire.OK {
		return code
	}
	if m == nil {
		m = &mount{share: share, dir: name, by: make(map[asker]struct{})}
		m.lasting = lasting{
			name:  "the directory " + path.Join(SharesDir, alias),
			holds: func(s guard.State) error { return s.Mount(share.Label, share.Writable) },
		}
		if err := e.flow.lasts(&m.lasting); err != nil {
			e.m.recordMount(opMount, by.env, e, m, alias, err)
			by.env.references.give(ref)
			return wire.Unavailable
		}
		ctx, cancel := context.WithTimeout(context.Background(), mountTimeout)
		defer cancel()
		err := e.mounts.by.Mount(ctx, dir, path.Join(SharesDir, alias), share.Writable, share.SizeBytes)
		e.m.recordMount(opMount, by.env, e, m, alias, err)
		if err != nil {
			e.flow.release(&m.lasting)
			by.env.references.give(ref)
			return wire.Unavailable
		}
		if e.mounts.at == nil {
			e.mounts.at = make(map[string]*mount)
		}
		e.mounts.at[alias] = m
	}
	m.by[by] = struct{}{}
	return wire.OK
}

// unmount takes back what a mount with the same fields gave.
func (e *Env) unmount(req *wire.Mount) (wire.Code, string) {
	has := e.rights.Load()
	v, _ := has.decideMount(e, opUnmount, req)
	if v.Allowed && req.Into != "" {
		if err := e.mayChange(has, req); err != nil {
			e.m.concludeFor(e, e.whom(req.Principal), opUnmount, objectOf(req), 0, Verdict{Rule: v.Rule + ": " + err.Error()}, forWhom(req.Principal), nil)
			code, text := answerOf(nil, err)
			return code, string(text)
		}
	}
	refs := e.references.matching(e, req)
	if v.Allowed && len(refs) == 0 {
		v = Verdict{Rule: v.Rule + ": nothing is mounted"}
	}
	if e.m.concludeFor(e, e.whom(req.Principal), opUnmount, objectOf(req), 0, v, forWhom(req.Principal), nil) != nil {
		return wire.Denied, ""
	}
	code := wire.OK
	for _, ref := range refs {
		if !ref.in.release(e, ref) {
			code = wire.Unavailable
		}
	}
	return code, ""
}

// release drops a reference to what e is shown, and the mount with its last.
// It reports false if that is still there: it is mounted without a reference
// then, as ps says.
func (e *Env) release(by *Env, ref reference) (ok bool) {
	e.mounts.mu.Lock()
	defer e.mounts.mu.Unlock()
	by.references.give(ref)
	m := e.mounts.at[ref.alias]
	if m == nil {
		return true
	}
	delete(m.by, asker{by, ref.client})
	if len(m.by) > 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), mountTimeout)
	defer cancel()
	err := e.mounts.by.Unmount(ctx, path.Join(SharesDir, ref.alias))
	e.m.recordMount(opUnmount, by, e, m, ref.alias, err)
	if err == nil {
		delete(e.mounts.at, ref.alias)
		e.flow.release(&m.lasting)
	}
	return err == nil
}

// endMounts drops all that e has asked for, and forgets what it is shown: that
// ends with it.
func (e *Env) endMounts() {
	e.mounts.mu.Lock()
	at := e.mounts.at
	e.mounts.closed, e.mounts.at = true, nil
	e.mounts.mu.Unlock()
	for alias, m := range at {
		for by := range m.by {
			by.env.references.give(reference{e, alias, by.client})
		}
	}
	e.references.mu.Lock()
	refs := e.references.dirs
	e.references.closed, e.references.dirs = true, nil
	e.references.mu.Unlock()
	for ref := range refs {
		if ref.in != e && !e.at().Label.FlowsTo(ref.in.flow.container) {
			continue // that e has ended is not for that one to see: it stays as it is
		}
		ref.in.release(e, ref)
	}
}

// recordMount writes down what became of a decision.
func (m *Monitor) recordMount(o op, by, in *Env, mt *mount, alias string, err error) {
	detail := fmt.Sprintf("share %q in %s as %s", mt.share.Name, in.id.Instance, path.Join(SharesDir, alias))
	if err != nil {
		detail += ": " + err.Error()
	}
	m.log.Append(audit.Record{
		Kind: audit.KindMount, Subject: by.id.Service, Instance: by.id.Instance, Principal: by.whom(in.id.Principal),
		Op: o.name, Object: mt.dir, Detail: detail,
	}) // a log that is full has stopped the decision before
}

// Mounted is a directory that an instance is shown.
type Mounted struct {
	Instance   string      `json:"instance"`
	Path       string      `json:"path"` // inside
	Dir        string      `json:"dir"`  // on the host
	Share      string      `json:"share"`
	Writable   bool        `json:"writable,omitempty"`
	References int         `json:"references"`
	By         []MountedBy `json:"by"` // one for each reference
}

// MountedBy is who has a reference.
type MountedBy struct {
	Instance string `json:"instance"`
	Client   string `json:"client,omitempty"`
}

// Mounts lists what is mounted, by instance and directory.
func (m *Monitor) Mounts() []Mounted {
	m.mu.Lock()
	envs := make([]*Env, 0, len(m.envs))
	for _, e := range m.envs {
		envs = append(envs, e)
	}
	m.mu.Unlock()
	var all []Mounted
	for _, e := range envs {
		e.mounts.mu.Lock()
		for alias, mt := range e.mounts.at {
			x := Mounted{Instance: e.id.Instance, Path: path.Join(SharesDir, alias), Dir: mt.dir, Share: mt.share.Name, Writable: mt.share.Writable, References: len(mt.by), By: []MountedBy{}}
			for by := range mt.by {
				x.By = append(x.By, MountedBy{by.env.id.Instance, by.client})
			}
			slices.SortFunc(x.By, func(a, b MountedBy) int {
				return strings.Compare(a.Instance+"\x00"+a.Client, b.Instance+"\x00"+b.Client)
			})
			all = append(all, x)
		}
		e.mounts.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Mounted) int {
		return strings.Compare(a.Instance+"\x00"+a.Dir+"\x00"+a.Path, b.Instance+"\x00"+b.Dir+"\x00"+b.Path)
	})
	return all
}
