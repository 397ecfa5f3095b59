package linux_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

const waiterEnv = "COFFERDAM_TEST_WAITER"

// TestWaiter is no test, but the program that waits in those here.
func TestWaiter(t *testing.T) {
	switch os.Getenv(waiterEnv) {
	case "":
		return
	case "ends":
		os.Exit(3)
	case "waits":
		unix.Write(1, []byte("before "))
		err := unix.Close(linux.WaitCall)
		fmt.Print("after ", err, " ", unix.Close(linux.WaitCall), " ", unix.Close(linux.WaitCall-1))
		io.Copy(os.Stdout, os.NewFile(3, "request"))
		os.Exit(0)
	}
}

// waiter starts that program, with the write end of a pipe as its standard output.
func waiter(t *testing.T, c *linux.Cradle, room *linux.Room, how string, out int) *linux.Notice {
	t.Helper()
	s, err := room.NewScript()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	p := &s.Program
	p.Add("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	p.Listen()
	p.UnblockSignals()
	p.Add("close", unix.SYS_CLOSE_RANGE, 4, uintptr(^uint32(0)), 0)
	self, _ := os.Executable()
	s.Claim.Add("execute", unix.SYS_EXECVE, s.String(self), s.Strings([]string{self, "-test.run=^TestWaiter$"}), s.Strings([]string{waiterEnv + "=" + how}))
	child, err := c.Clone(s, 0, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	ctl := s.Control()
	t.Cleanup(func() {
		unix.PidfdSendSignal(child.PidFD, unix.SIGKILL, nil, 0)
		unix.Wait4(child.Pid, nil, 0, nil)
		unix.Close(child.PidFD)
		ctl.Close()
	})
	null, _ := os.OpenFile("/dev/null", os.O_RDWR, 0)
	defer null.Close()
	if err := s.Go(ctl, []int{int(null.Fd()), out, 2, int(null.Fd())}); err != nil {
		t.Fatal(err)
	}
	report, fd, err := s.ReadReport(ctl)
	if err != nil || report.Kind != linux.ReportReady || fd < 0 {
		t.Fatalf("%+v, %d, %v", report, fd, err)
	}
	n, err := linux.NewNotice(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	if report, fd, err = s.ReadReport(ctl); err != nil || report.Kind != linux.ReportStarted {
		t.Fatalf("%+v, %v", report, err)
	}
	unix.Close(fd)
	return n
}

// Who waits gets descriptors in place of its own, once, and goes on; nobody waits any more after
// that.
func TestNotice(t *testing.T) {
	c, room := cradle(t)
	before, theirs, _ := os.Pipe()
	after, late, _ := os.Pipe()
	n := waiter(t, c, room, "waits", int(theirs.Fd()))
	theirs.Close()
	if err := n.Await(time.Minute); err != nil {
		t.Fatal(err)
	}
	if !n.Waits() {
		t.Error("nobody waits")
	}
	request, say, _ := os.Pipe()
	say.WriteString(" request")
	say.Close()
	null, _ := os.OpenFile("/dev/null", os.O_RDWR, 0)
	defer null.Close()
	if err := n.Answer([]int{int(null.Fd()), int(late.Fd()), 2, int(request.Fd())}, 0); err != nil {
		t.Fatal(err)
	}
	n.Close()
	late.Close()
	request.Close()
	first, _ := io.ReadAll(before) // its write end is nobody's any more
	rest, _ := io.ReadAll(after)
	if string(first) != "before " || !strings.HasPrefix(string(rest), "after <nil> ") || !strings.HasSuffix(string(rest), "bad file descriptor request") {
		t.Errorf("%q, %q", first, rest)
	}
	if n.Waits() {
		t.Error("somebody waits still")
	}
}

func TestNoticeOfNobody(t *testing.T) {
	c, room := cradle(t)
	n := waiter(t, c, room, "ends", 1)
	if err := n.Await(time.Minute); !errors.Is(err, linux.ErrNotWaiting) {
		t.Errorf("one that ends: %v", err)
	}
	n = waiter(t, c, room, "waits", 1)
	if err := n.Await(time.Minute); err != nil {
		t.Fatal(err)
	}
	n.Close()
	if err := n.Answer(nil, 0); err == nil {
		t.Error("nobody is answered")
	}
}
