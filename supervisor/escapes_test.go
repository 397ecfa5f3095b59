package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/sdk"

	"golang.org/x/sys/unix"
)

// records reads the audit log.
func (a *app) records() (all []audit.Record) {
	a.t.Helper()
	if err := audit.Scan(a.dirs.State, func(r audit.Record) error { all = append(all, r); return nil }); err != nil {
		a.t.Fatal(err)
	}
	return all
}

// refusals are the records of what was denied, as "op object".
func (a *app) refusals() (all []string) {
	for _, r := range a.records() {
		if r.Verdict == audit.Deny {
			all = append(all, r.Op+" "+r.Object)
		}
	}
	return all
}

// Each attempt that the monitor refuses is in the log, once, with who it was.
func TestEveryRefusalIsRecorded(t *testing.T) {
	a := start(t, pair)
	for _, name := range []string{"client.who", "server.who", "nobody.who", "server.none", "\x1b[2J.x"} {
		before := len(a.refusals())
		a.exec("server", "ask", name, "")
		got := a.refusals()[before:]
		if name == "\x1b[2J.x" {
			// Not even a name: the connection ends, and there is nothing to print.
			continue
		}
		if want := []string{"call " + name}; !slices.Equal(got, want) {
			t.Errorf("asking for %s leaves the refusals %q, want %q", name, got, want)
		}
	}
	for _, r := range a.records() {
		if r.Verdict == audit.Deny && (r.Subject != "server" || r.Instance == "" || r.Rule == "") {
			t.Errorf("a refusal without who or why: %+v", r)
		}
	}
	// A stranger at the socket of an instance is one too.
	sockets, err := filepath.Glob(filepath.Join(a.dirs.Runtime, "wire", "*"))
	if err != nil || len(sockets) == 0 {
		t.Fatalf("sockets: %v, %v", sockets, err)
	}
	before := len(a.refusals())
	knocked := 0
	for _, path := range sockets {
		if c, err := net.Dial("unix", path); err == nil {
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			c.Read(make([]byte, 1)) // until it is closed
			c.Close()
			knocked++
		}
	}
	if got := a.refusals()[before:]; len(got) != knocked || knocked == 0 || !strings.HasPrefix(got[0], "attach") {
		t.Errorf("%d strangers leave the refusals %q", knocked, got)
	}
}

// What comes along with the bytes of a wire socket is nobody's: descriptors of a program do
// not get into the trusted process.
func TestDescriptorsOnTheWire(t *testing.T) {
	a := start(t, pair)
	a.exec("client", "smuggle", "1")
	before := openDescriptors(t)
	for range 5 {
		// From Linux 6.16 on the kernel refuses them (SO_PASSRIGHTS); before, they are dropped.
		if got := a.exec("client", "smuggle", "20"); got != "operation not permitted" && got != "answer: client" {
			t.Errorf("calls with descriptors passed along: %q", got)
		}
	}
	var after int
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		// Connections of programs that have ended go a moment later.
		if after = openDescriptors(t); after <= before || time.Now().After(end) {
			break
		}
	}
	if after > before {
		t.Errorf("%d descriptors were open before, %d are after", before, after)
	}
}

// openDescriptors counts ours.
func openDescriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// The sockets of the application, the operator's among them, lie where no environment
// looks; only its own is there.
func TestOperatorsSocketIsOutOfReach(t *testing.T) {
	a := start(t, pair)
	admin := filepath.Join(a.dirs.Runtime, "admin")
	if err := os.MkdirAll(a.dirs.Runtime, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", admin)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(admin, 0o777); err != nil {
		t.Fatal(err)
	}
	sockets, err := filepath.Glob(filepath.Join(a.dirs.Runtime, "wire", "*"))
	if err != nil || len(sockets) < 2 {
		t.Fatalf("sockets: %v, %v", sockets, err)
	}
	for _, path := range append(sockets, admin) {
		if got := a.exec("client", "knock", path); got != "no such file or directory" {
			t.Errorf("connect to %s from inside: %q", path, got)
		}
	}
	if got := a.exec("client", "knock", os.Getenv("none")); got == "" {
		t.Error("connecting to nothing says nothing")
	}
}

// hostile is what the programs of these tests do inside.
func hostile(ctx context.Context, args []string) error {
	switch args[0] {
	case "knock": // connects to a path
		_, err := net.Dial("unix", args[1])
		var errno syscall.Errno
		if errors.As(err, &errno) {
			fmt.Println(errno)
			return nil
		}
		fmt.Println("connected", err)
	case "smuggle": // passes descriptors along with bytes, and then calls
		var n int
		fmt.Sscan(args[1], &n)
		c, err := net.Dial("unix", os.Getenv(sdk.SocketVariable))
		if err != nil {
			return err
		}
		raw, err := c.(*net.UnixConn).SyscallConn()
		if err != nil {
			return err
		}
		d, err := os.Open("/")
		if err != nil {
			return err
		}
		var fds []int
		for range n {
			fds = append(fds, int(d.Fd()))
		}
		var sendErr error
		raw.Write(func(fd uintptr) bool {
			// The first byte of a frame, whose rest follows: the monitor has to wait.
			sendErr = unix.Sendmsg(int(fd), []byte{0}, unix.UnixRights(fds...), nil, 0)
			return true
		})
		if sendErr != nil {
			return sendErr
		}
		return program([]string{"ask", "server.who", ""})
	default:
		return fmt.Errorf("no program %q", args[0])
	}
	return nil
}
