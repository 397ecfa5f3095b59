package spawner

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"cofferdam/executor/namespace/link"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// interpreter is a program that was executed in a prepared environment, has loaded its
// modules, and waits in a system call ([linux.WaitCall]) that we are to answer. It is under all that a
// program is under, and knows nothing of whose it will be. The answer gives it its streams, in place of
// a pipe of ours, and what it is to run.
type interpreter struct {
	notice  *linux.Notice
	program int // pidfd; -1 once an instance has it
}

//go:embed ahead.cjs
var nodeText string

const (
	nodeFile = "/etc/cofferdam/ahead.cjs"

	// Processor time that it may use beyond its limit, until it is somebody's.
	aheadTime = time.Minute

	// How much is kept of what it says before it waits.
	maxSaid = 4 << 10
)

// aheadCommand is what is executed: the interpreter of spec with what has it load its modules, and wait.
func aheadCommand(spec *link.Start) link.Command {
	a := spec.Ahead
	c := link.Command{Env: a.Env, Dir: spec.Command.Dir}
	if a.Node() {
		c.Args = slices.Concat(a.Interpreter[:1], []string{"--require", nodeFile}, a.Interpreter[1:])
		c.Env = append(slices.Clone(c.Env), "COFFERDAM_AHEAD="+strings.Join(a.Modules, "\n"))
	} else {
		c.Args = slices.Concat(a.Interpreter, []string{"-c", zygoteText, "ahead"}, a.Modules)
	}
	return c
}

// aheadOfNode tells whether nodeFile is part of the file tree.
func aheadOfNode(spec *link.Start) bool { return spec.Ahead != nil && spec.Ahead.Node() }

// said is a pipe into which an interpreter talks before it waits, and what of that is kept.
type said struct {
	in   int // its end, -1 once closed
	text chan string
}

func listenTo() (*said, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	unix.SetNonblock(p[0], true)
	out := os.NewFile(uintptr(p[0]), "said")
	s := &said{in: p[1], text: make(chan string, 1)}
	go func() {
		defer out.Close()
		var kept []byte
		buf := make([]byte, maxSaid)
		for {
			n, err := out.Read(buf)
			if kept = append(kept, buf[:n]...); len(kept) > maxSaid {
				kept = kept[len(kept)-maxSaid:]
			}
			if err != nil {
				s.text <- strings.TrimSpace(string(kept))
				return
			}
		}
	}()
	return s, nil
}

func (s *said) close() {
	if s.in >= 0 {
		unix.Close(s.in)
		s.in = -1
	}
}

// load executes in p the interpreter of i, a program of nobody, and returns once that waits.
func (s *stocks) load(p *prepared, i *instance, mounts []placed) error {
	talk, err := listenTo()
	if err != nil {
		return err
	}
	defer talk.close()
	const null = 0 // as which we were given it
	set, err := i.setUp(mounts, []int{null, talk.in, talk.in, talk.in}, asked)
	if err != nil {
		return err
	}
	defer set.close()
	sc := p.script
	command := aheadCommand(i.spec)
	if err := s.server.scripts.execute(sc, &command); err != nil {
		return err
	}
	if err := sc.Go(p.ctl, set.fds); err != nil {
		return err
	}
	p.ctl.SetReadDeadline(time.Now().Add(startTimeout))
	report, fd, err := sc.ReadReport(p.ctl)
	if err == nil && (report.Kind != linux.ReportReady || fd < 0) {
		err = errors.New("its program runs without having been listened to")
	}
	if err != nil {
		return i.startError(err)
	}
	p.loaded = &interpreter{program: -1}
	if p.loaded.notice, err = linux.NewNotice(fd); err != nil {
		return err
	}
	if _, p.loaded.program, err = sc.ReadReport(p.ctl); err != nil {
		return i.startError(err)
	}
	p.ctl.SetReadDeadline(time.Time{})
	talk.close() // so that its end is seen
	if !s.begins(p) {
		return errors.New("nobody wants it any more")
	}
	err = p.loaded.notice.Await(loadTimeout)
	s.begun(p)
	if err == nil {
		return nil
	}
	switch {
	case i.group != nil && i.group.Stat().OOMKills > 0:
		err = fmt.Errorf("it used more memory than %s", bytesText(i.spec.Limits.MemoryBytes))
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("it has not come to wait within %v", loadTimeout)
	case errors.Is(err, linux.ErrNotWaiting):
		err = errors.New("it has ended")
	}
	unix.PidfdSendSignal(p.child.PidFD, unix.SIGKILL, nil, 0)
	select {
	case text := <-talk.text:
		if text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
	case <-time.After(forkTimeout):
	}
	return fmt.Errorf("interpreter %q: load the modules %q: %w", i.spec.Ahead.Interpreter, i.spec.Ahead.Modules, err)
}

// wake has the interpreter of p be the program of i, with fds as its streams. Whatever goes wrong before
// it has gone on, it is nobody's any more.
func (i *instance) wake(p *prepared, fds []int) error {
	request, err := i.request()
	if err != nil {
		return err
	}
	defer unix.Close(request)
	pid, err := linux.PidOf(p.loaded.program)
	if err != nil || pid <= 0 {
		return errGone
	}
	stat := i.stat()
	if stat.OOMKills > 0 {
		return errGone // it lost a part of itself
	}
	i.look()
	i.before = i.used(stat).CPU
	if err := limitTime(pid, i.spec.Limits.CPU, i.before); err != nil {
		return gone(p, err)
	}
	i.began = time.Now()
	flags := 0
	if i.spec.Ahead.Node() {
		flags = unix.O_CLOEXEC // as it has its streams from when it starts
	}
	if err := p.loaded.notice.Answer(append(slices.Clone(fds), request), flags); err != nil {
		return errGone
	}
	p.loaded.notice.Close()
	i.program, p.loaded.program, i.waited = p.loaded.program, -1, true
	return nil
}

// request writes down what an interpreter that waits is to run: how many arguments there are, those, and
// the variables, each with a NUL at its end. Nobody can change it.
func (i *instance) request() (int, error) {
	args := i.spec.Command.Args[len(i.spec.Ahead.Interpreter):]
	var b []byte
	for _, list := range [][]string{{fmt.Sprint(len(args))}, args, i.spec.Command.Env} {
		for _, v := range list {
			b = append(append(b, v...), 0)
		}
	}
	return linux.SealedFile(b)
}

// limitTime has a process use so much processor time from now on: it has used some.
func limitTime(pid int, limit, used time.Duration) error {
	if limit <= 0 {
		return nil
	}
	seconds := uint64((limit + used + time.Second - 1) / time.Second)
	var now unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_CPU, nil, &now); err != nil {
		return fmt.Errorf("look at a limit of processor time: %w", err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_CPU, &unix.Rlimit{Cur: min(seconds+1, now.Max), Max: min(seconds+2, now.Max)}, nil); err != nil {
		return fmt.Errorf("limit processor time: %w", err)
	}
	return nil
}

// end gives up what there is of it.
func (l *interpreter) end() {
	if l == nil {
		return
	}
	if l.notice != nil {
		l.notice.Close()
	}
	if l.program >= 0 {
		unix.Close(l.program)
		l.program = -1
	}
}
