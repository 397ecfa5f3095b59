package executortest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// countedCases take what the kernel counts for a user of the host, through all user namespaces: what one
// environment has of it neither another one nor the host can have.
var countedCases = []Case{
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
