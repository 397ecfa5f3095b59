package executortest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"cofferdam/internal/linux/raw"

	"golang.org/x/sys/unix"
)

// What a neighbour holds, by names that another one can try.
const (
	sysvKey  = 0x0c0ffe
	mqName   = "cofferdam-neighbour"
	holdPort = "127.0.0.1:701"
)

// neighbours holds everything that has a name of its own ("hold"), finds it in the same
// environment ("find"), or seeks it from another ("seek", and the host's numbers of the
// holder's processes).
func neighbours(in *Inside) {
	switch in.Part() {
	case "hold":
		hold(in)
		in.Must(os.WriteFile("/tmp/holding", nil, 0o600))
		time.Sleep(time.Hour)
	case "find":
		for _, f := range findings() {
			// Where memory is not accounted for, some of it cannot be made at all, and
			// a queue of POSIX nowhere.
			want := []syscall.Errno{0}
			switch f.what {
			case "shared memory", "message queue", "semaphores":
				want = append(want, unix.ENOSYS)
			case "POSIX queue":
				want = []syscall.Errno{unix.ENOSYS}
			case "abstract socket": // that of another program of ours, by Landlock
				want = append(want, unix.EPERM)
			}
			in.Attempt("find our "+f.what, f.err, want...)
		}
	case "seek":
		seek(in)
	}
}

func hold(in *Inside) {
	for what, nr := range map[string][2]uintptr{"memory": {unix.SYS_SHMGET, 4096}, "semaphores": {unix.SYS_SEMGET, 1}} {
		_, errno := raw.Call(nr[0], sysvKey, nr[1], unix.IPC_CREAT|0o666)
		if errno != 0 && errno != unix.ENOSYS {
			in.Must(fmt.Errorf("make %s: %w", what, errno))
		}
	}
	if _, errno := raw.Call(unix.SYS_MSGGET, sysvKey, unix.IPC_CREAT|0o666); errno != 0 && errno != unix.ENOSYS {
		in.Must(errno)
	}
	small := make([]byte, 64) // struct mq_attr
	small[8], small[16] = 1, 64
	if _, errno := raw.Call(unix.SYS_MQ_OPEN, mqName, unix.O_CREAT|unix.O_RDWR, 0o666, small); errno != unix.ENOSYS {
		in.Must(fmt.Errorf("make a queue: %w", errno))
	}
	for _, name := range []string{"/dev/shm/neighbour", "/tmp/neighbour"} {
		in.Must(os.WriteFile(name, []byte("secret"), 0o666))
		in.Must(os.Chmod(name, 0o666))
	}
	for network, at := range map[string]string{"tcp": holdPort, "unix": "@neighbour", "unixpacket": "/tmp/s"} {
		_, err := net.Listen(network, at)
		in.Must(err)
	}
	in.Must(syscall.Mkfifo("/tmp/fifo", 0o666))
}

type finding struct {
	what string
	err  error
}

// findings looks for all that hold made.
func findings() []finding {
	f := func(nr uintptr, args ...any) error { return raw0(nr, args...) }
	dial := func(network, at string) error {
		c, err := net.DialTimeout(network, at, 2*time.Second)
		if err == nil {
			c.Close()
		}
		return err
	}
	stat := func(name string) error {
		_, err := os.ReadFile(name)
		var e syscall.Errno
		if errors.As(err, &e) {
			return e
		}
		return err
	}
	return []finding{
		{"shared memory", f(unix.SYS_SHMGET, sysvKey, 0, 0)},
		{"semaphores", f(unix.SYS_SEMGET, sysvKey, 0, 0)},
		{"message queue", f(unix.SYS_MSGGET, sysvKey, 0)},
		{"POSIX queue", f(unix.SYS_MQ_OPEN, mqName, unix.O_RDWR, 0, nil)},
		{"file in /dev/shm", stat("/dev/shm/neighbour")},
		{"file in /tmp", stat("/tmp/neighbour")},
		{"port", dial("tcp", holdPort)},
		{"abstract socket", dial("unix", "@neighbour")},
		{"socket in /tmp", dial("unixpacket", "/tmp/s")},
	}
}

// seek looks for what a neighbour holds, and for its processes.
func seek(in *Inside) {
	for _, f := range findings() {
		in.Attempt("seek a neighbour's "+f.what, f.err, unix.ENOENT, unix.ECONNREFUSED, unix.ENOSYS, unix.EACCES)
	}
	for id := range 16 {
		in.Attempt(fmt.Sprintf("remove semaphores %d", id), raw0(unix.SYS_SEMCTL, id, 0, unix.IPC_RMID), unix.EINVAL, unix.ENOSYS)
	}
	for _, pid := range in.Args[1:] {
		pid = strings.Trim(pid, "[]")
		for _, name := range []string{"root", "cwd", "mem", "environ", "cmdline", "fd", "maps", "exe", "status", "ns/mnt"} {
			_, err := os.Open("/proc/" + pid + "/" + name)
			in.Attempt("open /proc/"+pid+"/"+name, err, unix.ENOENT)
		}
	}
	names, err := os.ReadDir("/proc")
	in.Must(err)
	var others []string
	for _, n := range names {
		if c := n.Name()[0]; c >= '0' && c <= '9' && n.Name() != fmt.Sprint(os.Getpid()) {
			others = append(others, n.Name())
		}
	}
	in.Check("other processes in /proc", strings.Join(others, " "), "")
	for pid := 1; pid < 4000; pid++ {
		if pid == 1 || syscall.Kill(pid, 0) == syscall.ESRCH {
			continue
		}
		if b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/comm", pid)); err == nil && len(b) > 0 {
			continue // a thread of ours
		}
		if pid == os.Getpid() {
			continue
		}
		in.Check("a process that is not ours", pid, "none")
	}
	in.Check("looked for all processes", true, true)
}
