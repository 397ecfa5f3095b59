package namespace_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// probe is what the test binary does inside an environment.
func probe(name string, args []string) int {
	f, ok := probes[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no probe %q\n", name)
		return 100
	}
	return f(args)
}

// probing is a spec that runs a probe.
func probing(t testing.TB, name string, args ...string) *executor.Spec {
	t.Helper()
	self, err := filepath.EvalSymlinks("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	spec := host(append([]string{"/probe", "probe", name}, args...)...)
	spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: self, Target: "/probe"})
	return spec
}

var keepOpen []*os.File

var probes = map[string]func([]string) int{
	"memory": func([]string) int {
		var keep [][]byte
		for {
			keep = append(keep, bytes.Repeat([]byte{1}, 1<<20))
			runtime.KeepAlive(keep)
		}
	},
	"unmapped": func(args []string) int { // memory that is kept and not mapped
		return hide(args[0])
	},
	"threads": func([]string) int { // more processes than allowed
		for range 200 {
			if err := exec.Command("/probe", "probe", "sleep").Start(); err != nil {
				fmt.Println(err)
				return 4
			}
		}
		return 0
	},
	"victim": victim,
	"holder": tricker,
	"sleep":  func([]string) int { time.Sleep(time.Hour); return 0 },
	"spin": func([]string) int {
		for { //nolint:staticcheck // this is what it is for
		}
	},
	"relay": func(args []string) int { // spend processor time in short-lived orphans
		if args[0] == "ignored" {
			signal.Ignore(syscall.SIGCHLD)
		}
		var use syscall.Rusage
		for use.Utime.Nano() < int64(60*time.Millisecond) {
			syscall.Getrusage(syscall.RUSAGE_SELF, &use)
		}
		cmd := exec.Command("/probe", "probe", "relay", args[0], "orphan")
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
		}
		if len(args) == 1 || args[0] == "ignored" {
			time.Sleep(70 * time.Millisecond)
		}
		if len(args) == 1 {
			time.Sleep(time.Hour)
		}
		return 0
	},
	"x32": func([]string) int { // a call of a foreign ABI
		syscall.RawSyscall(0x40000000|unix.SYS_GETPID, 0, 0, 0)
		return 0
	},
	"files": func([]string) int {
		for n := 0; ; n++ {
			if _, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0); err != nil {
				fmt.Println(n, err)
				return 0
			}
		}
	},
	"serve": func(args []string) int { // echo one connection
		l, err := net.Listen("tcp", args[0])
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("ready")
		c, err := l.Accept()
		if err != nil {
			return 1
		}
		buf := make([]byte, 16)
		n, _ := c.Read(buf)
		c.Write(buf[:n])
		return 0
	},
	"dial": func(args []string) int {
		c, err := net.DialTimeout("tcp", args[0], 2*time.Second)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Fprint(c, "hello")
		return 0
	},
	"orphans": func(args []string) int { // leave a process of another session
		cmd := exec.Command("/bin/sh", "-c", "sleep 3600 >/dev/null 2>&1 & echo left")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := cmd.Output()
		fmt.Print(string(out), err, "\n")
		if len(args) > 0 {
			time.Sleep(time.Hour)
		}
		return 0
	},
	"fill": func(args []string) int { // write for ever below a directory
		for n := 0; ; n++ {
			if err := os.WriteFile(fmt.Sprintf("%s/%d", args[0], n), make([]byte, 64<<10), 0o600); err != nil {
				fmt.Println(err)
				time.Sleep(time.Hour)
			}
			time.Sleep(time.Millisecond)
		}
	},
	"deleted": func(args []string) int { // fill files that have no name
		for {
			f, err := os.Create(args[0] + "/f")
			if err == nil {
				err = os.Remove(f.Name())
			}
			if err == nil {
				_, err = f.Write(make([]byte, 256<<10))
			}
			if err == nil && args[1] == "mapped" {
				_, err = unix.Mmap(int(f.Fd()), 0, 256<<10, unix.PROT_READ, unix.MAP_SHARED)
				f.Close()
			}
			if err != nil {
				fmt.Println(err)
				return 1
			}
			keepOpen = append(keepOpen, f)
			time.Sleep(5 * time.Millisecond)
			if len(keepOpen) == 200 {
				return 0 // and nobody minded
			}
		}
	},
	"tcp": func([]string) int { // how much fits into connections that nobody reads from
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Println(err)
			return 1
		}
		var ends []net.Conn
		held := 0
		for range 100 {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				break
			}
			s, err := l.Accept()
			if err != nil {
				break
			}
			c.(*net.TCPConn).SetWriteBuffer(4 << 20)
			for err == nil {
				c.SetWriteDeadline(time.Now().Add(3 * time.Millisecond))
				var n int
				n, err = c.Write(make([]byte, 256<<10))
				held += n
			}
			ends = append(ends, c, s)
		}
		fmt.Println(held>>20, len(ends))
		return 0
	},
	"big": func(args []string) int { // one big file
		f, err := os.Create(args[0])
		if err != nil {
			fmt.Println(err)
			return 1
		}
		for {
			if _, err := f.Write(make([]byte, 1<<20)); err != nil {
				fmt.Println(err)
				return 1
			}
		}
	},
}

// hide takes 128 MiB without mapping more than 1 MiB at a time, and exits with 7 if
// there is a way.
func hide(way string) int {
	const chunk = 1 << 20
	for range 128 {
		fd, flags := -1, unix.MAP_SHARED|unix.MAP_ANONYMOUS
		var err error
		switch way {
		case "memfd":
			if fd, err = unix.MemfdCreate("hidden", 0); err == nil {
				_, err = unix.Write(fd, make([]byte, chunk))
			}
			if err != nil {
				fmt.Println(err)
				return 0
			}
			continue // open, and so kept
		case "shm":
			id, err := unix.SysvShmGet(unix.IPC_PRIVATE, chunk, unix.IPC_CREAT|0o600)
			if err != nil {
				fmt.Println(err)
				return 0
			}
			b, err := unix.SysvShmAttach(id, 0, 0)
			if err != nil {
				fmt.Println(err)
				return 1
			}
			copy(b, bytes.Repeat([]byte{1}, chunk))
			unix.SysvShmDetach(b)
			continue
		case "zero":
			if fd, err = unix.Open("/dev/zero", unix.O_RDWR, 0); err != nil {
				fmt.Println(err)
				return 0
			}
			flags = unix.MAP_SHARED
		}
		b, err := unix.Mmap(fd, 0, chunk, unix.PROT_READ|unix.PROT_WRITE, flags)
		if err != nil {
			fmt.Println(err)
			return 0
		}
		copy(b, bytes.Repeat([]byte{1}, chunk))
		unix.Madvise(b, unix.MADV_DONTNEED) // gone from the process, but not from memory
	}
	time.Sleep(500 * time.Millisecond) // whoever watches has the time to see it
	return 7
}
