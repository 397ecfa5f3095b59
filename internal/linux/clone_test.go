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

// run clones a child without namespaces that executes path.
func run(t testing.TB, path string, args []string, fds []int) (linux.Report, error) {
	t.Helper()
	s, err := linux.NewScript()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := &s.Program
	p.UnblockSignals()
	p.Add("close", unix.SYS_CLOSE_RANGE, uintptr(len(fds)), uintptr(^uint32(0)), 0)
	p.Add("execute "+path, unix.SYS_EXECVE, s.String(path), s.Strings(args), s.Strings(nil))
	child, err := s.Clone(0, -1)
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
	r, err := run(t, "/bin/sh", []string{"sh", "-c", "exit 3"}, []int{int(null.Fd()), 1, 2})
	if err != nil || !r.Status().Exited() || r.Status().ExitStatus() != 3 {
		t.Errorf("sh -c 'exit 3': %v, %v", r.Status(), err)
	}
}

func TestCloneNamesTheStep(t *testing.T) {
	_, err := run(t, "/does/not/exist", nil, nil)
	var step *linux.StepError
	if !errors.As(err, &step) || !step.Execute || step.Errno != unix.ENOENT {
		t.Fatalf("error %v, want a StepError of the execve with ENOENT", err)
	}
	if got, want := err.Error(), "execute /does/not/exist: no such file or directory"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

// The child copies a process whose garbage collector, scheduler and signal
// handlers are at work.
func TestCloneUnderLoad(t *testing.T) {
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
		r, err := run(t, "/bin/true", []string{"true"}, nil)
		if err != nil || r.Status() != 0 {
			t.Errorf("start %d: status %v, %v", i, r.Status(), err)
			break
		}
	}
	close(stop)
	wg.Wait()
}

func TestScriptRefusesNUL(t *testing.T) {
	s, err := linux.NewScript()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.String("a\x00b")
	if s.Err() == nil {
		t.Error("a string with a NUL was taken")
	}
}
