package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"cofferdam/audit"
	"cofferdam/wire"
)

// shared is the policy bank with shares that are there: the host directories of
// them, by name.
func shared(t testing.TB) (Policy, map[string]string) {
	t.Helper()
	p, dirs := bank(), make(map[string]string)
	for i := range p.Shares {
		dir := t.TempDir()
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		p.Shares[i].Root = os.NewFile(uintptr(fd), dir)
		t.Cleanup(func() { p.Shares[i].Root.Close() })
		dirs[p.Shares[i].Name] = dir
	}
	return p, dirs
}

func makeDirs(t testing.TB, top string, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := os.Mkdir(filepath.Join(top, n), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// fakeMounter keeps what is mounted in a list, by its inode, and complains of
// what no order of requests may lead to.
type fakeMounter struct {
	t testing.TB

	mu      sync.Mutex
	hold    chan struct{}     // nil, or what a mount waits for
	at      map[string]uint64 // by target
	options map[string]string
	mounts  int // that ever were
	fail    error
	gone    bool
}

func newFakeMounter(t testing.TB) *fakeMounter {
	return &fakeMounter{t: t, at: make(map[string]uint64), options: make(map[string]string)}
}

func (f *fakeMounter) Mount(_ context.Context, dir *os.File, target string, writable bool, size int64) error {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		<-hold
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	if _, twice := f.at[target]; twice {
		f.t.Errorf("mounted on %s twice", target)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		f.t.Error(err)
	}
	f.at[target] = st.Ino
	if f.options != nil {
		f.options[target] = fmt.Sprintf("%v %d", writable, size)
	}
	f.mounts++
	return nil
}

func (f *fakeMounter) Unmount(_ context.Context, target string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	if _, there := f.at[target]; !there || f.gone {
		f.t.Errorf("unmounted %s, which is not there (instance gone: %v)", target, f.gone)
	}
	delete(f.at, target)
	return nil
}

// holding makes mounts wait from now on, until the channel is closed.
func (f *fakeMounter) holding() chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hold = make(chan struct{})
	return f.hold
}

// end says that the instance is no more.
func (f *fakeMounter) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
}

// count is how many mounts there ever were.
func (f *fakeMounter) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mounts
}

// inode is that of what is mounted on target.
func (f *fakeMounter) inode(target string) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at[target]
}

// option is how target was mounted.
func (f *fakeMounter) option(target string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.options[target]
}

// holdsReferences is how many references e has.
func (e *Env) holdsReferences() int {
	e.references.mu.Lock()
	defer e.references.mu.Unlock()
	return len(e.references.dirs)
}

// failing makes it fail from now on, or not.
func (f *fakeMounter) failing(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

func (f *fakeMounter) targets() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for target := range f.at {
		all = append(all, target)
	}
	slices.Sort(all)
	return all
}

// shareLab is a lab whose shares are there, with an instance of front and one of
// bank.
type shareLab struct {
	*lab
	dirs        map[string]string
	front, bank *Env
	in          *fakeMounter // of bank
	own         *fakeMounter // of front
}

func newShareLab(t *testing.T) *shareLab {
	p, dirs := shared(t)
	l := &shareLab{lab: newLab(t, p), dirs: dirs, in: newFakeMounter(t), own: newFakeMounter(t)}
	l.front, l.bank = l.admit("front", "front-1"), l.admit("bank", "bank-1")
	l.front.Mounting(l.own)
	l.bank.Mounting(l.in)
	return l
}

// share sends a request and returns how it ended.
func (p *peer) share(op wire.Op, m wire.Mount) (wire.Code, string) {
	p.t.Helper()
	id := p.ask(op, "", 0, m.Append(nil))
	f := p.next()
	if f.Op != wire.OpReply || f.ID != id {
		p.t.Fatalf("got %v %d, want the reply %d", f.Op, f.ID, id)
	}
	return f.Code, string(f.Body)
}

func (p *peer) mount(m wire.Mount) string {
	p.t.Helper()
	code, path := p.share(wire.OpMount, m)
	if code != wire.OK || !strings.HasPrefix(path, SharesDir+"/") || len(path) != len(SharesDir)+33 {
		p.t.Fatalf("mount of %+v = %v %q", m, code, path)
	}
	return path
}

func (p *peer) unmount(m wire.Mount) {
	p.t.Helper()
	if code, body := p.share(wire.OpUnmount, m); code != wire.OK || body != "" {
		p.t.Fatalf("unmount of %+v = %v %q", m, code, body)
	}
}

// TestMountFlow: a client gets what it has; an instance counts who has it; at
// zero it is gone.
func TestMountFlow(t *testing.T) {
	l := newShareLab(t)
	makeDirs(t, l.dirs["theories"], "a", "b")
	p := l.connect(l.front)
	of := func(client, dir string) wire.Mount {
		return wire.Mount{Dir: "/srv/theories/" + dir, Into: "bank", Client: client}
	}
	first := p.mount(of("alice", "a"))
	for range 3 {
		if again := p.mount(of("alice", "a")); again != first {
			t.Errorf("the same client got %q, then %q", first, again)
		}
	}
	if other := p.mount(of("bob", "a")); other != first {
		t.Errorf("another client got %q, not %q", other, first)
	}
	second := p.mount(of("alice", "b"))
	if second == first || l.in.count() != 2 {
		t.Errorf("another directory is at %q, %d mounts", second, l.in.count())
	}
	want := []Mounted{
		{Instance: "bank-1", Path: first, Dir: "/srv/theories/a", Share: "theories", References: 2, By: []MountedBy{{"front-1", "alice"}, {"front-1", "bob"}}},
		{Instance: "bank-1", Path: second, Dir: "/srv/theories/b", Share: "theories", References: 1, By: []MountedBy{{"front-1", "alice"}}},
	}
	if got := l.m.Mounts(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Mounts() = %+v\nwant %+v", got, want)
	}
	p.unmount(of("alice", "a"))
	if code, _ := p.share(wire.OpUnmount, of("alice", "a")); code != wire.Denied {
		t.Errorf("a client that mounted once and asked often could unmount twice: %v", code)
	}
	if got := l.in.targets(); len(got) != 2 {
		t.Errorf("bob lost what alice took back: %q", got)
	}
	p.unmount(of("bob", "a"))
	if got := l.in.targets(); !slices.Equal(got, []string{second}) {
		t.Errorf("mounted is %q, want %q", got, second)
	}
	p.unmount(of("alice", "b"))
	if len(l.in.targets()) != 0 || len(l.m.Mounts()) != 0 || l.front.holdsReferences() != 0 {
		t.Errorf("left: %q, %v, %v", l.in.targets(), l.m.Mounts(), l.front.holdsReferences())
	}
	// Within front itself it is another mount, and tells nothing of the first.
	if own := p.mount(wire.Mount{Dir: "/srv/theories/a"}); own == first || len(l.own.targets()) != 1 || len(l.in.targets()) != 0 {
		t.Errorf("mounted in itself at %q", own)
	}
	if got := l.own.option(l.own.targets()[0]); got != "false 0" {
		t.Errorf("a share that is not writable was mounted with %s", got)
	}
}

// TestMountRecords: the operator reads what a program is not told.
func TestMountRecords(t *testing.T) {
	l := newShareLab(t)
	makeDirs(t, l.dirs["theories"], "a")
	p := l.connect(l.front)
	m := wire.Mount{Dir: "/srv/theories/a", Into: "bank"}
	path := p.mount(m)
	p.unmount(m)
	p.share(wire.OpMount, wire.Mount{Dir: "/srv/theories/absent"})
	var got []string
	for _, r := range l.decisions() {
		got = append(got, strings.Join([]string{string(r.Kind), r.Subject, r.Instance, r.Op, r.Object, r.Verdict, r.Rule, r.Detail}, "|"))
	}
	want := []string{
		"decision|front|front-1|mount|bank:/srv/theories/a|allow|m.yaml:1|",
		"mount|front|front-1|mount|/srv/theories/a|||share \"theories\" in bank-1 as " + path,
		"decision|front|front-1|unmount|bank:/srv/theories/a|allow|m.yaml:1|",
		"mount|front|front-1|unmount|/srv/theories/a|||share \"theories\" in bank-1 as " + path,
		"decision|front|front-1|mount|/srv/theories/absent|deny|m.yaml:1: no directory there that can be reached without links: no such file or directory|",
	}
	if !slices.Equal(got, want) {
		t.Errorf("recorded was\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestMountDenials compares the very bytes that come back for what is there and
// not granted, not there, and no directory.
func TestMountDenials(t *testing.T) {
	l := newShareLab(t)
	makeDirs(t, l.dirs["theories"], "a", "closed", "closed/in")
	makeDirs(t, l.dirs["drop"], "a")
	for _, err := range []error{
		os.Symlink("a", filepath.Join(l.dirs["theories"], "link")),
		os.Symlink("/etc", filepath.Join(l.dirs["theories"], "etc")),
		os.Symlink("/proc/self/root", filepath.Join(l.dirs["theories"], "root")),
		os.WriteFile(filepath.Join(l.dirs["theories"], "file"), nil, 0o644),
		unix.Mkfifo(filepath.Join(l.dirs["theories"], "fifo"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p := l.connect(l.front)
	var first []byte
	for _, op := range []wire.Op{wire.OpMount, wire.OpUnmount} {
		for _, m := range []wire.Mount{
			{Dir: "/etc"}, {Dir: "/absent"}, {Dir: "/srv"}, {Dir: "/srv/theoriesx"}, {Dir: "/srv/theorie"}, {Dir: "/" + strings.Repeat("x", wire.MaxPath-1)},
			{Dir: "/srv/theories/absent"}, {Dir: "/srv/theories/absent/x"}, {Dir: "/srv/theories/file"}, {Dir: "/srv/theories/file/x"}, {Dir: "/srv/theories/fifo"},
			{Dir: "/srv/theories/link"}, {Dir: "/srv/theories/link/x"}, {Dir: "/srv/theories/etc"}, {Dir: "/srv/theories/etc/ssl"}, {Dir: "/srv/theories/root"}, {Dir: "/srv/theories/root/etc"},
			{Dir: "/srv/theories/" + strings.Repeat("x", 300)},
			{Dir: "/srv/drop/a"}, {Dir: "/srv/drop/absent"},
			{Dir: "/srv/theories/a", Into: "absent"}, {Dir: "/srv/theories/a", Into: "stranger"}, {Dir: "/srv/theories/a", Into: "sandbox", Principal: "alice"},
			{Dir: "/srv/theories/absent", Into: "bank"}, {Dir: "/etc", Into: "bank"},
		} {
			id := p.ask(op, "", 0, m.Append(nil))
			f := p.next()
			if f.ID != id {
				t.Fatalf("got the reply %d, want %d", f.ID, id)
			}
			f.ID = 0
			got := wire.AppendFrame(nil, &f)
			if first == nil {
				first = got
			}
			if f.Code != wire.Denied || !bytes.Equal(got, first) {
				t.Errorf("%v of %.80v gives %v, %x, not what /etc gives, %x", op, m, f.Code, got, first)
			}
		}
	}
	if n := l.own.count() + l.in.count(); n != 0 {
		t.Errorf("%d mounts", n)
	}
	stranger := l.connect(l.admit("stranger", "stranger-1"))
	if code, _ := stranger.share(wire.OpMount, wire.Mount{Dir: "/srv/theories/a"}); code != wire.Denied {
		t.Errorf("a stranger got %v", code)
	}
	for _, body := range [][]byte{nil, []byte("x"), wire.AppendField(nil, wire.KeyDir, "/srv/theories/a/.."), wire.AppendField(nil, wire.KeyFile, "/a")} {
		id := p.ask(wire.OpMount, "", 0, body)
		if f := p.next(); f.ID != id || f.Code != wire.Malformed {
			t.Errorf("%q gives %v, want %v", body, f.Code, wire.Malformed)
		}
	}
	l.booksAreEmpty()
}

// What ends, lets go.
func TestMountsEnd(t *testing.T) {
	l := newShareLab(t)
	makeDirs(t, l.dirs["theories"], "a")
	m := wire.Mount{Dir: "/srv/theories/a", Into: "bank"}
	other := l.admit("front", "front-2")
	other.Mounting(newFakeMounter(t))
	p, q := l.connect(l.front), l.connect(other)
	path := p.mount(m)
	if q.mount(m) != path {
		t.Error("two askers see it at different places")
	}
	q.mount(wire.Mount{Dir: "/srv/theories/a"})

	l.m.Remove(l.front)
	if got := l.in.targets(); !slices.Equal(got, []string{path}) {
		t.Errorf("after the end of one of two askers mounted is %q", got)
	}
	l.m.Remove(other)
	if got := l.in.targets(); len(got) != 0 {
		t.Errorf("after the end of all askers mounted is %q", got)
	}

	l.front = l.admit("front", "front-3")
	l.front.Mounting(newFakeMounter(t))
	p = l.connect(l.front)
	p.mount(m)
	l.in.end() // nothing is asked of an instance that has ended
	l.m.Remove(l.bank)
	if got := l.front.holdsReferences(); got != 0 {
		t.Errorf("after the end of the instance it has %d references", got)
	}
	if code, _ := p.share(wire.OpMount, m); code != wire.Unavailable {
		t.Errorf("without an instance: %v, want %v", code, wire.Unavailable)
	}
	if code, _ := p.share(wire.OpUnmount, m); code != wire.Denied {
		t.Errorf("unmount of what has gone: %v, want %v", code, wire.Denied)
	}
	next := l.admit("bank", "bank-2")
	if code, _ := p.share(wire.OpMount, m); code != wire.Unavailable {
		t.Errorf("before it takes mounts: %v, want %v", code, wire.Unavailable)
	}
	in := newFakeMounter(t)
	next.Mounting(in)
	if p.mount(m) == path {
		t.Error("another instance has the alias of the first")
	}
}

// A directory that took the place of another is another mount.
func TestChangedTarget(t *testing.T) {
	l := newShareLab(t)
	top := l.dirs["theories"]
	makeDirs(t, top, "a", "b")
	p := l.connect(l.front)
	m := wire.Mount{Dir: "/srv/theories/a", Into: "bank"}
	first := p.mount(m)
	for _, err := range []error{os.Rename(filepath.Join(top, "a"), filepath.Join(top, "old")), os.Rename(filepath.Join(top, "b"), filepath.Join(top, "a"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	second := p.mount(m)
	if first == second || len(l.in.targets()) != 2 || l.in.inode(first) == l.in.inode(second) {
		t.Errorf("%q and then %q, mounted is %q", first, second, l.in.targets())
	}
	// The first is elsewhere now, where it is a mount of its own: a path of the
	// host is part of what a reference is to.
	third := p.mount(wire.Mount{Dir: "/srv/theories/old", Into: "bank"})
	if third == first || l.in.inode(third) != l.in.inode(first) {
		t.Errorf("the same directory at another path is at %q", third)
	}
	p.unmount(m)
	if got := l.in.targets(); !slices.Equal(got, []string{third}) {
		t.Errorf("after unmount: %q, want only %q", got, third)
	}
}

func TestMountPrincipals(t *testing.T) {
	l := newShareLab(t)
	mounters := make(map[string]*fakeMounter)
	for i, principal := range []string{"alice", "bob", "alice", ""} {
		name := fmt.Sprint("sandbox-", i)
		e, err := l.m.Admit(wire.Identity{Service: "sandbox", Instance: name, Principal: principal})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.m.Remove(e) })
		mounters[name] = newFakeMounter(t)
		e.Mounting(mounters[name])
	}
	if _, err := l.m.Admit(wire.Identity{Service: "sandbox", Instance: "sandbox-not-yet", Principal: "alice"}); err != nil {
		t.Fatal(err) // admitted, and does not run yet
	}
	p := l.connect(l.front)
	for principal, want := range map[string]string{"alice": "sandbox-2", "bob": "sandbox-1", "": "sandbox-3", "carol": ""} {
		m := wire.Mount{Dir: "/srv/drop", Into: "sandbox", Principal: principal}
		code, path := p.share(wire.OpMount, m)
		if (code == wire.OK) != (want != "") || want == "" && code != wire.Unavailable {
			t.Errorf("mount for %q = %v", principal, code)
		}
		for name, f := range mounters {
			if got := f.targets(); (name == want) != (len(got) == 1) || name == want && (got[0] != path || f.option(path) != "true 1048576") {
				t.Errorf("mount for %q: %s has %q %s", principal, name, got, f.option(path))
			}
		}
		if want != "" {
			p.unmount(m)
		}
	}
}

func TestMaxMounts(t *testing.T) {
	l := newShareLab(t)
	makeDirs(t, l.dirs["theories"], "more")
	for i := range MaxMounts {
		makeDirs(t, l.dirs["theories"], fmt.Sprint(i))
	}
	p := l.connect(l.front)
	more := wire.Mount{Dir: "/srv/theories/more", Into: "bank"}
	of := func(i int, client string) wire.Mount {
		return wire.Mount{Dir: fmt.Sprint("/srv/theories/", i), Into: "bank", Client: client}
	}
	for i := range MaxMounts {
		p.mount(of(i, ""))
	}
	if code, _ := p.share(wire.OpMount, more); code != wire.Busy {
		t.Errorf("mount %d: %v, want %v", MaxMounts+1, code, wire.Busy)
	}
	for i := range MaxReferences - MaxMounts { // what is mounted can be had
		p.mount(of(i%MaxMounts, fmt.Sprint("client ", i)))
	}
	if code, _ := p.share(wire.OpMount, of(0, "one more")); code != wire.Busy {
		t.Errorf("reference %d: %v, want %v", MaxReferences+1, code, wire.Busy)
	}
	p.mount(of(0, "")) // but what it has, it has
	p.unmount(of(1, ""))
	p.mount(of(0, "one more"))
}

func TestMaxMounting(t *testing.T) {
	l := newShareLab(t)
	makeDirs(t, l.dirs["theories"], "a")
	hold := l.in.holding()
	p := l.connect(l.front)
	m := wire.Mount{Dir: "/srv/theories/a", Into: "bank"}
	for range maxMounting {
		p.ask(wire.OpMount, "", 0, m.Append(nil))
	}
	if code, _ := p.share(wire.OpMount, m); code != wire.Busy {
		t.Errorf("request %d: %v, want %v", maxMounting+1, code, wire.Busy)
	}
	close(hold)
	for range maxMounting {
		if f := p.next(); f.Code != wire.OK {
			t.Errorf("%d: %v", f.ID, f.Code)
		}
	}
	if l.in.count() != 1 {
		t.Errorf("%d mounts of one directory by one client", l.in.count())
	}
	// One that its asker withdraws is done nonetheless, and not answered.
	p.unmount(m)
	hold = l.in.holding()
	id := p.ask(wire.OpMount, "", 0, m.Append(nil))
	eventually(t, "it is under way", func() bool { return l.front.inFlight.Load() == 1 })
	p.send(wire.Frame{Header: wire.Header{Op: wire.OpCancel, ID: id}})
	eventually(t, "it is withdrawn", func() bool { return l.front.inFlight.Load() == 0 })
	close(hold)
	eventually(t, "it is mounted", func() bool { return len(l.in.targets()) == 1 })
	p.quiet()
	l.m.Remove(l.front)
	if got := l.in.targets(); len(got) != 0 {
		t.Errorf("mounted is %q", got)
	}
}

// A mount that fails leaves no reference; an unmount that fails leaves the mount,
// for all to see.
func TestMounterFails(t *testing.T) {
	l := newShareLab(t)
	makeDirs(t, l.dirs["theories"], "a")
	p := l.connect(l.front)
	m := wire.Mount{Dir: "/srv/theories/a", Into: "bank"}
	l.in.failing(errors.New("no memory"))
	if code, body := p.share(wire.OpMount, m); code != wire.Unavailable || body != "" || l.front.holdsReferences() != 0 || len(l.m.Mounts()) != 0 {
		t.Errorf("mount = %v %q, %v, %v", code, body, l.front.holdsReferences(), l.m.Mounts())
	}
	if rs := l.decisions(); rs[len(rs)-1].Kind != audit.KindMount || !strings.HasSuffix(rs[len(rs)-1].Detail, "no memory") {
		t.Errorf("the last record is %+v", rs[len(rs)-1])
	}
	l.in.failing(nil)
	path := p.mount(m)
	l.in.failing(errors.New("no memory"))
	if code, _ := p.share(wire.OpUnmount, m); code != wire.Unavailable {
		t.Errorf("unmount = %v", code)
	}
	if got := l.m.Mounts(); len(got) != 1 || len(got[0].By) != 0 {
		t.Errorf("after an unmount that failed: %+v", got)
	}
	l.in.failing(nil)
	if p.mount(m) != path || l.in.count() != 1 {
		t.Errorf("%d mounts, want the one that stayed", l.in.count())
	}
	p.unmount(m)
	if len(l.in.targets()) != 0 {
		t.Error("it is still mounted")
	}
}

// TestMountChurn: askers, clients and instances come and go, and what is mounted
// is what somebody has.
func TestMountChurn(t *testing.T) {
	l := newShareLab(t)
	for i := range 4 {
		makeDirs(t, l.dirs["theories"], fmt.Sprint(i))
	}
	var askers sync.WaitGroup
	for n := range 4 {
		askers.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(n), 7))
			for life := range 8 {
				e, err := l.m.Admit(wire.Identity{Service: "front", Instance: fmt.Sprintf("front-%d-%d", n, life)})
				if err != nil {
					t.Error(err)
					return
				}
				p := l.connect(e)
				for range 50 {
					op := wire.OpMount
					if rnd.IntN(2) == 0 {
						op = wire.OpUnmount
					}
					m := wire.Mount{Dir: fmt.Sprint("/srv/theories/", rnd.IntN(5)), Into: "bank", Client: fmt.Sprint(rnd.IntN(3))}
					p.ask(op, "", 0, m.Append(nil))
					if rnd.IntN(3) == 0 {
						p.read()
					}
				}
				l.m.Remove(e)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		askers.Wait()
		close(done)
	}()
	in, last := l.bank, l.in
	for n := 0; ; n++ {
		select {
		case <-done:
		default:
			next := l.admit("bank", fmt.Sprint("bank-next-", n))
			mounter := newFakeMounter(t)
			next.Mounting(mounter)
			l.m.Remove(in)
			last.end()
			in, last = next, mounter
			continue
		}
		break
	}
	eventually(t, "nothing is mounted", func() bool { return len(last.targets()) == 0 && len(l.m.Mounts()) == 0 })
}

// TestShareOpenRaces: while directories, links and files change places, what
// is opened below a share was in the share.
func TestShareOpenRaces(t *testing.T) {
	top := t.TempDir()
	share, outside := filepath.Join(top, "share"), filepath.Join(top, "outside")
	makeDirs(t, top, "share", "outside", "outside/sub", "outside/a", "outside/a/sub", "share/a", "share/a/sub", "share/b", "share/b/sub")
	for name, to := range map[string]string{"link": "../outside", "absolute": outside, "magic": "/proc/self/root" + outside} {
		if err := os.Symlink(to, filepath.Join(share, name)); err != nil {
			t.Fatal(err)
		}
	}
	within := make(map[uint64]bool)
	err := filepath.WalkDir(share, func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && d.IsDir() {
			err = unix.Lstat(path, &st)
			within[st.Ino] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(share, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &Share{From: "/srv", Root: os.NewFile(uintptr(fd), share)}
	defer s.Root.Close()

	stop := make(chan struct{})
	var racer sync.WaitGroup
	racer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			exchange := func(a, b string) { unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE) }
			for _, link := range []string{"link", "absolute", "magic"} {
				exchange("a", link)
				exchange("a", link)
			}
			exchange("a/sub", "b") // deeper and higher
			exchange("a/sub", "b")
			os.Rename(filepath.Join(share, "a"), filepath.Join(top, "away")) // out, and back
			os.Rename(filepath.Join(top, "away"), filepath.Join(share, "a"))
			os.Rename(share, share+"-to") // the share itself, with another in its place
			os.Rename(outside, share)
			os.Rename(share, outside)
			os.Rename(share+"-to", share)
		}
	})
	opened, refused := 0, 0
	for range 20000 {
		f, err := s.open("/srv/a/sub")
		if err != nil {
			refused++
			continue
		}
		opened++
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if !within[st.Ino] {
			t.Fatalf("opened inode %d, which is not in the share", st.Ino)
		}
	}
	close(stop)
	racer.Wait()
	t.Logf("opened %d times, refused %d times", opened, refused)
	if opened == 0 || refused == 0 {
		t.Errorf("opened %d times, refused %d times: there was no race", opened, refused)
	}
}

// What another file system holds is not reached by a name in the share: it may
// be one that never answers.
func TestShareIsOneFileSystem(t *testing.T) {
	l := newShareLab(t)
	makeDirs(t, l.dirs["theories"], "disk")
	disk := filepath.Join(l.dirs["theories"], "disk")
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=16k"); err != nil {
		t.Skip("needs root: to mount a tmpfs: ", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	makeDirs(t, disk, "in")
	p := l.connect(l.front)
	for _, dir := range []string{"/srv/theories/disk", "/srv/theories/disk/in"} {
		if code, _ := p.share(wire.OpMount, wire.Mount{Dir: dir}); code != wire.Denied {
			t.Errorf("mount of %s = %v, want %v", dir, code, wire.Denied)
		}
	}
	p.mount(wire.Mount{Dir: "/srv/theories"}) // and with it what is on it
}
