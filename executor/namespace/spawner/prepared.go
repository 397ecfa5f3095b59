package spawner

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace/link"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// prepared is an environment that waits for its program: everything is done that is the same for
// all of its shape. Its mounts are in place, and the process of the program to be has its user,
// limits, filter and Landlock, and waits for one message. It belongs to nobody, nothing of anybody
// was in it, and it is used once.
//
// What is one instance's comes when it is claimed: host name, sockets, volumes, files,
// descriptors, listeners, and the program with its arguments.
type prepared struct {
	*blank
	name     string         // the host name that it has by now
	loaded   *interpreter   // that was executed in it, nil where nothing was
	identity string         // of what its mounts show, see identityOf
	views    map[string]int // by target of MountFiles: a mount of the same through which we can write
}

// stocks keeps environments of certain shapes prepared.
type stocks struct {
	server  *server
	wake    chan struct{}
	stopped chan struct{}  // closed when keep has returned
	loads   sync.WaitGroup // of interpreters, besides keep

	mu      sync.Mutex
	by      map[string]*stock  // guarded by mu, by shape
	loading map[*prepared]bool // guarded by mu: whose interpreters do not wait yet
	ended   bool               // guarded by mu
}

// stock are those of one shape.
type stock struct {
	spec  *link.Start
	asked map[string]int // by the name of who wants them: how many
	ready []*prepared
	busy  bool      // an interpreter is being loaded for it
	later time.Time // no further one before, for the last could not be
}

// retryDelay is how long no other interpreter is tried after one that could not be had.
const retryDelay = time.Second

// maxPrepared bounds how many may be asked for, of all shapes together.
const maxPrepared = 4096

// shapeOf is what environments have to agree in for one to be prepared as the other.
func shapeOf(spec *link.Start) string {
	var b strings.Builder
	l := spec.Limits
	l.Wall, l.OutputBytes = 0, 0 // are counted from outside
	fmt.Fprintf(&b, "%q\n%+v %t", spec.Hosts, l, spec.Sendfile)
	for n, m := range spec.Mounts {
		if m.Kind == executor.MountFile && inFiles(spec.Mounts, n) {
			continue // comes with the claim
		}
		if late(&m) {
			m.Source = ""
		}
		fmt.Fprintf(&b, "\n%d %q %q %t %q %o %d %d", m.Kind, m.Source, m.Target, m.Writable, m.Data, m.Mode, m.SizeBytes, m.Inodes)
	}
	if spec.Ahead != nil {
		fmt.Fprintf(&b, "\n%+q %q", *spec.Ahead, spec.Command.Dir)
	}
	return b.String()
}

// identityOf is what the mounts that are made ahead show: a file that was put in the place
// of another since is another one; and to who has read it, one that was changed.
func (s *stocks) identityOf(spec *link.Start, mounts []placed) string {
	var b strings.Builder
	if spec.Ahead != nil {
		seen, _, err := s.server.sight(spec.Ahead.Interpreter[0], mounts)
		fmt.Fprintln(&b, seen, err)
	}
	for _, m := range mounts {
		if !m.late && m.key != "" {
			b.WriteString(m.key)
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// preparable says why environments like spec cannot be prepared, nil if they can.
func preparable(spec *link.Start) error {
	mounts := spec.Mounts
	for n, m := range mounts {
		if spec.Ahead != nil && m.Kind == executor.MountVolume {
			if m.Writable {
				return fmt.Errorf("mount %q: nothing is executed ahead where a volume is to be writable", m.Target)
			}
			if within(path.Clean("/"+spec.Command.Dir), m.Target) {
				return fmt.Errorf("directory %q: nothing is executed ahead in a volume", spec.Command.Dir)
			}
		}
		if m.Kind == executor.MountBind && m.Writable {
			return fmt.Errorf("mount %q: what shows a directory of the host writable cannot be prepared", m.Target)
		}
		if outer := enclosing(mounts, n); outer >= 0 && late(&mounts[outer]) {
			return fmt.Errorf("mount %q: what lies in a volume cannot be prepared", m.Target)
		}
	}
	return nil
}

// prepare has n environments of the shape of spec wait from now on, besides those that others want, and
// returns once they do. If one cannot be made, none waits for spec from now on.
func (s *stocks) prepare(spec *link.Start, n int) error {
	if spec.Fork != nil {
		return s.server.zygotes.prepare(spec, n)
	}
	if err := preparable(spec); err != nil {
		return err
	}
	if err := s.server.checkDegraded(spec.AllowDegraded); err != nil {
		return err
	}
	shape := shapeOf(spec)
	all := spec.Mounts
	spec.Mounts = nil
	for k, m := range all {
		if m.Kind != executor.MountFile || !inFiles(all, k) {
			spec.Mounts = append(spec.Mounts, m)
		}
	}
	st, err := s.ask(shape, spec, n)
	for err == nil && s.missing(st) {
		err = s.fill(st)
	}
	if err != nil {
		s.ask(shape, spec, 0)
	}
	return err
}

// ask notes that the name of spec wants n of a shape to wait, and ends those that are too many.
func (s *stocks) ask(shape string, spec *link.Start, n int) (*stock, error) {
	s.mu.Lock()
	st := s.by[shape]
	if st == nil {
		st = &stock{asked: map[string]int{}}
	}
	total := n - st.asked[spec.Name]
	for _, other := range s.by {
		total += other.want()
	}
	if total > maxPrepared {
		s.mu.Unlock()
		return nil, fmt.Errorf("%d environments to be prepared: at most %d", total, maxPrepared)
	}
	st.spec, st.asked[spec.Name], s.by[shape] = spec, n, st
	if n == 0 {
		delete(st.asked, spec.Name)
	}
	if len(st.asked) == 0 {
		delete(s.by, shape)
	}
	var surplus []*prepared
	if most := st.want(); len(st.ready) > most {
		surplus, st.ready = st.ready[most:], st.ready[:most]
	}
	s.mu.Unlock()
	s.server.besides.prepared.Store(int64(total)) // is not at the expense of what runs
	err := s.server.limitAll()
	for _, p := range surplus {
		s.drop(p)
	}
	return st, err
}

// want is how many are to wait.
func (st *stock) want() (n int) {
	for _, asked := range st.asked {
		n += asked
	}
	return n
}

// missing tells whether one more of st is to be made.
func (s *stocks) missing(st *stock) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended && len(st.ready) < st.want()
}

// fill makes one more of st.
func (s *stocks) fill(st *stock) error {
	s.mu.Lock()
	spec := st.spec
	s.mu.Unlock()
	p, err := s.make(spec)
	if err != nil {
		return err
	}
	s.add(st, p)
	return nil
}

// add puts p where it is wanted, if it is.
func (s *stocks) add(st *stock, p *prepared) {
	s.mu.Lock()
	kept := !s.ended && len(st.ready) < st.want()
	if kept {
		st.ready = append(st.ready, p)
	}
	s.mu.Unlock()
	if !kept {
		s.drop(p)
	}
}

// make makes one.
func (s *stocks) make(spec *link.Start) (_ *prepared, err error) {
	srv := s.server
	mounts, err := srv.place(spec.Mounts, &spec.Limits, true)
	if err != nil {
		return nil, err
	}
	defer srv.closePlaced(mounts)
	b, err := srv.blanks.take()
	if err != nil {
		return nil, err
	}
	defer srv.blanks.refill()
	p := &prepared{blank: b, name: spec.Name, identity: s.identityOf(spec, mounts), views: map[string]int{}}
	defer func() {
		if err != nil {
			s.drop(p)
		}
	}()
	i := srv.newInstance(spec, mounts)
	i.use(b, srv.blanks)
	if spec.Ahead != nil {
		err = s.load(p, i, mounts)
	} else {
		err = i.await(mounts)
	}
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		if m.Kind == executor.MountFiles {
			return p, p.look(srv.visitor, mounts)
		}
	}
	return p, nil
}

// await has the process of the program to be wait in it.
func (i *instance) await(mounts []placed) error {
	b := i.blank
	set, err := i.setUp(mounts, nil, beforeExec)
	if err != nil {
		return err
	}
	defer set.close()
	if err := b.script.Ready(b.ctl, set.fds); err != nil {
		return err
	}
	b.ctl.SetReadDeadline(time.Now().Add(startTimeout))
	report, _, err := b.script.ReadReport(b.ctl)
	if err == nil && report.Kind != linux.ReportReady {
		err = errors.New("its program runs without having been asked for")
	}
	if err != nil {
		return i.startError(err)
	}
	b.ctl.SetReadDeadline(time.Time{})
	return nil
}

// look opens the mounts of files where they are.
func (p *prepared) look(v *visitor, mounts []placed) error {
	return v.enter(p.child.PidFD, func() error {
		for _, m := range mounts {
			if m.Kind == executor.MountFiles {
				view, err := writableView(m.Target)
				if err != nil {
					return err
				}
				p.views[m.Target] = view
			}
		}
		return nil
	})
}

// drop ends one that waits, or that was to be claimed.
func (s *stocks) drop(p *prepared) {
	p.closeViews()
	p.loaded.end()
	s.server.blanks.drop(p.blank)
}

func (p *prepared) closeViews() {
	for _, fd := range p.views {
		unix.Close(fd)
	}
	p.views = nil
}

// closeViewsLater is closeViews off the caller's way, for it waits for the kernel. They are nobody's at once: whoever
// closes what is left of p does not close them too.
func (p *prepared) closeViewsLater(work *sync.WaitGroup) {
	views := p.views
	p.views = nil
	if len(views) > 0 {
		work.Go(func() {
			for _, fd := range views {
				unix.Close(fd)
			}
		})
	}
}

// take returns one like spec, nil if none waits. Nobody else gets it. The caller has others made
// once its own start is over: see refill.
func (s *stocks) take(spec *link.Start, mounts []placed) *prepared {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.by) == 0 || spec.Fork != nil {
		return nil
	}
	st := s.by[shapeOf(spec)]
	if st == nil {
		return nil
	}
	identity := s.identityOf(spec, mounts)
	for len(st.ready) > 0 {
		p := st.ready[0]
		st.ready = st.ready[1:]
		if p.identity == identity && !readable(p.child.PidFD) {
			return p
		}
		// It shows what is not there any more, or was killed while it waited.
		s.server.work.Go(func() { s.drop(p) })
	}
	return nil
}

// put gives back one that was taken and not touched.
func (s *stocks) put(spec *link.Start, p *prepared) {
	s.mu.Lock()
	st := s.by[shapeOf(spec)]
	s.mu.Unlock()
	if st == nil {
		s.drop(p)
		return
	}
	s.add(st, p)
}

// refill has more made.
func (s *stocks) refill() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// keep makes those that are missing, until close.
func (s *stocks) keep() {
	defer close(s.stopped)
	for range s.wake {
		for {
			st, hurry := s.lowest()
			if st == nil {
				break
			}
			if !hurry {
				time.Sleep(refillDelay)
			}
			if st.spec.Ahead != nil {
				s.loads.Go(func() { s.fillBusy(st) }) // which can take long
				continue
			}
			if err := s.fill(st); err != nil {
				break // whoever starts one is told
			}
		}
	}
}

// fillBusy is fill for a stock that lowest has made busy.
func (s *stocks) fillBusy(st *stock) {
	err := s.fill(st)
	s.mu.Lock()
	st.busy = false
	if err != nil {
		st.later = time.Now().Add(retryDelay) // whoever asks for them to be prepared is told
	}
	ended := s.ended
	s.mu.Unlock()
	if !ended {
		s.refill()
	}
}

// begins tells whether p may load its interpreter, which stop ends.
func (s *stocks) begins(p *prepared) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.loading[p] = true
	}
	return !s.ended
}

// begun says that p does not any more.
func (s *stocks) begun(p *prepared) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.loading, p)
}

// stop has nothing more be made, and nobody wait for an interpreter.
func (s *stocks) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for p := range s.loading {
		unix.PidfdSendSignal(p.child.PidFD, unix.SIGKILL, nil, 0)
	}
}

// lowest is a stock that is not full, nil if there is none; hurry says that it is empty. If interpreters wait
// in it, it is busy from then on.
func (s *stocks) lowest() (low *stock, hurry bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, false
	}
	for _, st := range s.by {
		if st.busy || time.Now().Before(st.later) {
			continue
		}
		if len(st.ready) < st.want() && (low == nil || len(st.ready) < len(low.ready)) {
			low = st
		}
	}
	if low == nil {
		return nil, false
	}
	low.busy = low.spec.Ahead != nil
	return low, len(low.ready) == 0
}

// close ends those that wait. No more are made.
func (s *stocks) close() {
	s.stop()
	s.mu.Lock()
	var all []*prepared
	for _, st := range s.by {
		all = append(all, st.ready...)
		st.ready = nil
	}
	s.mu.Unlock()
	close(s.wake)
	<-s.stopped
	s.loads.Wait()
	for _, p := range all {
		s.drop(p)
	}
}

// claim makes the prepared environment that i has the one of its spec, and starts its program.
func (i *instance) claim(p *prepared, mounts []placed, fds []int) error {
	s, sc := i.server, p.script
	trees := map[int]int{}
	defer func() {
		for _, fd := range trees {
			unix.Close(fd)
		}
	}()
	for n, m := range mounts {
		if !m.late {
			continue
		}
		tree, err := i.ownTree(mounts, n)
		if err != nil {
			return fmt.Errorf("mount %q: %w", m.Target, err)
		}
		trees[n] = tree
	}
	if len(trees) > 0 || i.spec.Name != p.name {
		err := s.visitor.enter(p.child.PidFD, func() error {
			if err := unix.Sethostname([]byte(i.spec.Name)); err != nil {
				return fmt.Errorf("set the host name: %w", err)
			}
			for n, m := range mounts {
				if m.late {
					if err := attach(trees[n], unix.AT_FDCWD, m.Target); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return gone(p, err)
		}
	}
	id := s.ids.program(p.slot)
	for _, m := range mounts {
		if !m.inFiles || m.Kind != executor.MountFile {
			continue
		}
		view, have := p.views[path.Dir(m.Target)]
		if !have {
			return fmt.Errorf("file %q: nothing was prepared for it", m.Target)
		}
		if err := programFile(view, path.Base(m.Target), &m, id); err != nil {
			return err
		}
	}
	if p.loaded != nil {
		if err := i.wake(p, fds); err != nil {
			return err
		}
		p.closeViewsLater(&s.work)
		return nil
	}
	if i.ahead(mounts) == nil {
		s.scripts.restrict(sc, &sc.Claim, i.writable)
	}
	if err := s.scripts.execute(sc, &i.spec.Command); err != nil {
		return err
	}
	if err := sc.Go(p.ctl, fds); err != nil {
		return gone(p, err)
	}
	p.closeViewsLater(&s.work)
	err := i.begin()
	if err != nil && !sc.Claimed() {
		return gone(p, err)
	}
	return err
}

// errGone says that a prepared environment ended before it was anybody's.
var errGone = errors.New("it was killed while it waited")

// gone is err, or errGone if p is dying: the kernel gives different answers until that is over.
func gone(p *prepared, err error) error {
	fds := []unix.PollFd{{Fd: int32(p.child.PidFD), Events: unix.POLLIN}}
	if n, _ := unix.Poll(fds, 100); n > 0 || errors.Is(err, unix.ESRCH) || errors.Is(err, linux.ErrChildGone) {
		return errGone
	}
	return err
}
