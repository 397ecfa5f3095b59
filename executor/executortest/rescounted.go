package executortest

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"cofferdam/executor"
	"cofferdam/internal/linux/raw"

	"golang.org/x/sys/unix"
)

// countedCases take what the kernel counts for a user of the host, through all user namespaces: what one
// environment has of it neither another one nor the host can have.
var countedCases = []Case{
	{
		Name: "res/own-filters", Row: "memory of the kernel for filters runs out", Invisible: byFilter,
		// A process can have seven of 4090 instructions, which are 240 KiB of the kernel's: some two thousand of them, in all
		// environments together, take the 504 MiB that a host has for them.
		Inside: func(in *Inside) {
			prog := make([]byte, 16) // struct sock_fprog
			code := []byte{unix.BPF_RET | unix.BPF_K, 0, 0, 0, 0, 0, 0xff, 0x7f}
			binary.NativeEndian.PutUint16(prog, 1)
			binary.NativeEndian.PutUint64(prog[8:], uint64(raw.Address(code)))
			for _, flags := range []uintptr{0, unix.SECCOMP_FILTER_FLAG_TSYNC, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER} {
				in.Attempt("a filter of system calls", raw0(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, prog), unix.ENOSYS)
			}
			in.Attempt("the strictest", raw0(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_STRICT, 0, nil), unix.ENOSYS)
			in.Attempt("a filter, as before", raw0(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, prog), unix.EINVAL)
			in.Attempt("the strictest, as before", raw0(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_STRICT), unix.EINVAL)
			for _, option := range []int{unix.SO_ATTACH_FILTER, unix.SO_ATTACH_REUSEPORT_CBPF, unix.SO_ATTACH_BPF} {
				s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
				in.Must(err)
				in.Attempt("a filter of packets", unix.SetsockoptString(s, unix.SOL_SOCKET, option, string(prog)), unix.ENOPROTOOPT)
			}
			runtime.KeepAlive(code)
		},
	},
	{
		Name: "res/huge-pages", Row: "huge pages run out", Invisible: byFilter,
		Inside: func(in *Inside) {
			for _, size := range []int{21, 30} {
				_, err := unix.Mmap(-1, 0, 1<<size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB|size<<unix.MAP_HUGE_SHIFT)
				in.Attempt(fmt.Sprintf("a page of 2 to the %d bytes", size), err, unix.EPERM)
			}
			_, err := unix.MemfdCreate("huge", unix.MFD_HUGETLB)
			in.Attempt("a file of them", err, unix.EPERM, unix.ENOSYS)
			_, err = unix.SysvShmGet(unix.IPC_PRIVATE, 2<<20, unix.IPC_CREAT|0o4000|0o600)
			in.Attempt("a segment of them", err, unix.EPERM, unix.ENOSYS)
		},
	},
	{
		Name: "res/no-inotify", Row: "instances of inotify run out", Invisible: byFilter,
		Inside: func(in *Inside) {
			in.Attempt("an instance of inotify", raw0(unix.SYS_INOTIFY_INIT1, 0), unix.ENOSYS)
			in.Attempt("a watch", raw0(unix.SYS_INOTIFY_ADD_WATCH, 0, "/tmp", unix.IN_ALL_EVENTS), unix.ENOSYS)
			in.Attempt("no watch", raw0(unix.SYS_INOTIFY_RM_WATCH, 0, 1), unix.ENOSYS)
			in.Attempt("what can do the same and more", raw0(unix.SYS_FANOTIFY_INIT, 0, 0), unix.EPERM)
			_, err := unix.FcntlInt(0, unix.F_NOTIFY, 2)
			in.Attempt("what came before it", err, unix.EPERM)
		},
	},
	{
		Name: "res/inotify", Row: "instances of inotify run out", Invisible: "the kernel answers EMFILE and ENOSPC by itself",
		// Two take all that they can and keep it. A third one and the host have theirs.
		Outside: func(t *Trial) {
			with := func(n int, part string) *executor.Spec {
				spec := t.Spec(part, fmt.Sprint(n))
				spec.Limits.Inotify, spec.Limits.TmpBytes = n, 32<<20
				return spec
			}
			var greedy []*Started
			for range 2 {
				s := t.Start(with(3, "keep"))
				t.waitFor(s, "/tmp/ready")
				greedy = append(greedy, s)
			}
			t.Run(with(4, "take"))
			fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
			t.Attempt("an instance on the host meanwhile", err, 0)
			unix.Close(fd)
			for _, s := range greedy {
				s.Kill(executor.CausePolicy, "it has been seen")
				s.Wait()
			}
		},
		Inside: func(in *Inside) {
			var n int
			fmt.Sscan(in.Args[1], &n)
			var fds []int
			var err error
			for err == nil && len(fds) < 200 {
				var fd int
				if fd, err = unix.InotifyInit1(0); err == nil {
					fds = append(fds, fd)
				}
			}
			in.Attempt("one more instance", err, syscall.EMFILE)
			in.Check("instances", len(fds), n)
			watches, files := 0, 0
			for err = nil; err == nil && watches < 2*executor.InotifyWatches*n; files++ {
				name := fmt.Sprintf("/tmp/f%d", files)
				in.Must(os.WriteFile(name, nil, 0o600))
				for _, fd := range fds {
					if _, err = unix.InotifyAddWatch(fd, name, unix.IN_MODIFY); err != nil {
						break
					}
					watches++
				}
			}
			in.Attempt("one more watch", err, syscall.ENOSPC)
			in.Check("watches", watches, n*executor.InotifyWatches)
			for _, name := range []string{"instances", "watches"} {
				_, err := os.OpenFile("/proc/sys/user/max_inotify_"+name, os.O_WRONLY, 0)
				in.Attempt("more "+name+" for oneself", err, unix.ENOENT)
			}
			in.Attempt("a user namespace in which they begin anew", unix.Unshare(unix.CLONE_NEWUSER), unix.EPERM)
			// What it has does what it is for.
			in.Must(os.WriteFile("/tmp/f0", []byte("x"), 0o600))
			got := make([]byte, 64)
			read, err := unix.Read(fds[0], got)
			in.Check("it is told of a change", err == nil && read >= unix.SizeofInotifyEvent, true)
			if in.Part() == "keep" {
				in.Must(os.WriteFile("/tmp/ready", nil, 0o600))
				time.Sleep(time.Hour)
			}
			left, err := filepath.Glob("/proc/sys/*")
			in.Check("what there is of /proc/sys", fmt.Sprint(left, err), "[] <nil>")
		},
	},
}
