package linux_test

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"

	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// cradle makes one that lasts for the test.
func cradle(t testing.TB) (*linux.Cradle, *linux.Room) {
	t.Helper()
	room, err := linux.NewRoom(-1)
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan struct{})
	var c *linux.Cradle
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // children die with the thread
		c, err = linux.NewCradle(room)
		close(made)
		<-done
	}()
	<-made
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); close(done) })
	return c, room
}

// run clones a child without namespaces that executes path.
func run(t testing.TB, c *linux.Cradle, room *linux.Room, path string, args []string, fds []int) (linux.Report, error) {
	t.Helper()
	s, err := room.NewScript()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := &s.Program
	p.UnblockSignals()
	p.Add("close", unix.SYS_CLOSE_RANGE, uintptr(len(fds)), uintptr(^uint32(0)), 0)
	s.Claim.Add("execute "+path, unix.SYS_EXECVE, s.String(path), s.Strings(args), s.Strings(nil))
	child, err := c.Clone(s, 0, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child.PidFD)
	ctl := s.Control()
	defer ctl.Close()
	defer unix.Wait4(child.Pid, nil, 0, nil)
	if err := s.Go(ctl, fds); err != nil {
		t.Fatal(err)
	}
	_, pidfd, err := s.ReadReport(ctl)
	if err != nil {
		return linux.Report{}, err
	}
	unix.Close(pidfd)
	r, _, err := s.ReadReport(ctl)
	return r, err
}

func TestCloneRunsAProgram(t *testing.T) {
	null, _ := os.Open("/dev/null")
	defer null.Close()
	c, room := cradle(t)
	r, err := run(t, c, room, "/bin/sh", []string{"sh", "-c", "exit 3"}, []int{int(null.Fd()), 1, 2})
	if err != nil || !r.Status().Exited() || r.Status().ExitStatus() != 3 {
		t.Errorf("sh -c 'exit 3': %v, %v", r.Status(), err)
	}
}

func TestCloneNamesTheStep(t *testing.T) {
	c, room := cradle(t)
	_, err := run(t, c, room, "/does/not/exist", nil, nil)
	var step *linux.StepError
	if !errors.As(err, &step) || !step.Execute || step.Errno != unix.ENOENT {
		t.Fatalf("error %v, want a StepError of the execve with ENOENT", err)
	}
	if got, want := err.Error(), "execute /does/not/exist: no such file or directory"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

// A cradle is a copy of a process whose garbage collector, scheduler and signal
// handlers are at work.
func TestCloneUnderLoad(t *testing.T) {
	c, room := cradle(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var keep [64][]byte
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					keep[i%64] = make([]byte, 64<<10)
					if i%256 == 0 {
						runtime.GC()
					}
				}
			}
		}()
	}
	for i := range 200 {
		if i%10 == 0 {
			if c, room = cradle(t); i%20 == 0 {
				next, err := c.Another()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(next.Close)
				c = next
			}
		}
		r, err := run(t, c, room, "/bin/true", []string{"true"}, nil)
		if err != nil || r.Status() != 0 {
			t.Errorf("start %d: status %v, %v", i, r.Status(), err)
			break
		}
	}
	close(stop)
	wg.Wait()
}

// A cradle that is dead makes nothing, and what is not made is not ended: that would be done to
// whatever has its descriptor.
func TestNothingOfADeadCradle(t *testing.T) {
	c, room := cradle(t)
	c.Close()
	before, err := os.Readlink("/proc/self/fd/0")
	if err != nil {
		t.Skip("needs a standard input: ", err)
	}
	if _, err := c.Another(); !errors.Is(err, linux.ErrChildGone) {
		t.Errorf("another cradle: %v", err)
	}
	s, err := room.NewScript()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if child, err := c.Clone(s, 0, -1, -1); !errors.Is(err, linux.ErrChildGone) || child.PidFD >= 0 {
		t.Errorf("a child: %+v, %v", child, err)
	}
	if after, err := os.Readlink("/proc/self/fd/0"); err != nil || after != before {
		t.Errorf("standard input is %q, %v, and was %q", after, err, before)
	}
}

// A number of fewer digits than the one before is a path of its own.
func TestMapAgain(t *testing.T) {
	c, _ := cradle(t)
	for _, pid := range []int{os.Getpid() + 1<<24, os.Getpid()} {
		err := c.Map(pid, "not a map")
		if pid == os.Getpid() && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
			t.Errorf("map ids of %d: %v", pid, err)
		} else if pid != os.Getpid() && !errors.Is(err, linux.ErrChildGone) {
			t.Errorf("map ids of nobody: %v", err)
		}
	}
}

func TestScriptRefusesNUL(t *testing.T) {
	room, err := linux.NewRoom(-1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := room.NewScript()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.String("a\x00b")
	if s.Err() == nil {
		t.Error("a string with a NUL was taken")
	}
}
