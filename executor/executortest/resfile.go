package executortest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// fileCases fill file systems, tables of descriptors, and streams.
var fileCases = []Case{
	{
		Name: "res/descriptors", Row: "descriptor exhaustion", Invisible: "the kernel answers EMFILE by itself",
		Outside: bomb{ends: executor.CauseExit, change: func(s *executor.Spec) { s.Limits.OpenFiles = 64 }}.outside,
		Inside: func(in *Inside) {
			for name, open := range map[string]func() (int, error){
				"file":    func() (int, error) { return unix.Open("/dev/null", unix.O_RDONLY, 0) },
				"eventfd": func() (int, error) { return unix.Eventfd(0, 0) },
				"epoll":   func() (int, error) { return unix.EpollCreate1(0) },
				"timerfd": func() (int, error) { return unix.TimerfdCreate(unix.CLOCK_MONOTONIC, 0) },
				"socket":  func() (int, error) { return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0) },
				"pidfd":   func() (int, error) { return unix.PidfdOpen(os.Getpid(), 0) },
			} {
				var fds []int
				var err error
				for len(fds) < 1024 {
					var fd int
					if fd, err = open(); err != nil {
						break
					}
					fds = append(fds, fd)
				}
				in.Attempt("one more "+name, err, syscall.EMFILE)
				in.Check("fewer than 64 of "+name, len(fds) > 40 && len(fds) < 64, true)
				for _, fd := range fds {
					unix.Close(fd)
				}
			}
		},
	},
	{
		Name: "res/passed-descriptors", Row: "descriptor exhaustion through sockets", Invisible: "the kernel answers ETOOMANYREFS or EMFILE by itself",
		Outside: bomb{ends: executor.CauseExit, change: func(s *executor.Spec) { s.Limits.OpenFiles = 64 }}.outside,
		Inside: func(in *Inside) {
			// What is on its way is in nobody's table, but counts for the user: unix(7).
			file, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
			in.Must(err)
			rights := unix.UnixRights(file)
			for range 2048 {
				var fds [2]int
				if fds, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0); err != nil {
					break
				}
				for err == nil {
					err = unix.Sendmsg(fds[0], []byte("x"), rights, nil, 0)
				}
				if !errors.Is(err, unix.EAGAIN) {
					break
				}
			}
			in.Attempt("one more on its way", err, syscall.ETOOMANYREFS)
		},
	},
	{
		Name: "res/inodes", Row: "many-inode files", Invisible: "the file system answers ENOSPC by itself",
		Outside: bomb{ends: executor.CauseExit, change: func(s *executor.Spec) {
			s.Limits.TmpBytes = 1 << 20
			s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountTmpfs, Target: "/cell", Writable: true, SizeBytes: 1 << 20, Inodes: 100})
		}}.outside,
		Inside: func(in *Inside) {
			for dir, most := range map[string]int{"/tmp": 256, "/dev/shm": 256, "/cell": 100} {
				for what, make := range map[string]func(string) error{
					"file": func(name string) error { return unix.Mknod(name, unix.S_IFREG|0o600, 0) },
					"link": func(name string) error { return os.Symlink("x", name) },
					"fifo": func(name string) error { return unix.Mkfifo(name, 0o600) },
					"dir":  func(name string) error { return os.Mkdir(name, 0o700) },
				} {
					made := 0
					var err error
					for ; made < 1000; made++ {
						if err = make(fmt.Sprintf("%s/%s-%d", dir, what, made)); err != nil {
							break
						}
					}
					in.Attempt("one more "+what+" in "+dir, err, syscall.ENOSPC)
					in.Check(fmt.Sprintf("at most %d of %s in %s", most, what, dir), made > 0 && made <= most, true)
					for n := range made {
						in.Must(os.Remove(fmt.Sprintf("%s/%s-%d", dir, what, n)))
					}
				}
			}
		},
	},
	{
		Name: "res/deep", Row: "deep directories", Invisible: "the file system answers ENOSPC by itself",
		Outside: bomb{ends: executor.CauseExit, change: func(s *executor.Spec) { s.Limits.TmpBytes = 8 << 20 }}.outside,
		Inside: func(in *Inside) {
			// Deeper than any path can name: 2048 inodes.
			in.Must(os.Chdir("/tmp"))
			depth := 0
			var err error
			for ; depth < 10000; depth++ {
				if err = os.Mkdir("d", 0o700); err != nil {
					break
				}
				in.Must(unix.Chdir("d"))
			}
			in.Attempt("one more level", err, syscall.ENOSPC)
			in.Check("at most 2048 levels", depth > 1000 && depth <= 2048, true)
		},
	},
	{
		Name: "res/sparse", Row: "sparse files", Ends: executor.CauseDisk,
		Outside: bomb{ends: executor.CauseDisk, key: "limits.file_size", limit: "1MiB", change: func(s *executor.Spec) {
			s.Command.Args = []string{"truncate", "-s", "1T", "/tmp/sparse"}
			s.Limits.FileBytes = 1 << 20
		}}.outside,
	},
	{
		Name: "res/sparse-end", Row: "sparse files", Invisible: "the kernel answers EFBIG by itself",
		Outside: bomb{ends: executor.CauseExit, change: func(s *executor.Spec) { s.Limits.FileBytes = 1 << 20 }}.outside,
		Inside: func(in *Inside) {
			f, err := os.Create("/tmp/sparse")
			in.Must(err)
			for what, try := range map[string]func() error{
				"write far beyond the end": func() error { _, err := f.WriteAt([]byte("x"), 1<<40); return err },
				"allocate":                 func() error { return unix.Fallocate(int(f.Fd()), 0, 0, 1<<40) },
				"make it longer":           func() error { return f.Truncate(1 << 40) },
			} {
				// The signal that comes with it would be the end.
				got := make(chan error, 1)
				go func() { got <- try() }()
				in.Attempt(what, <-got, syscall.EFBIG)
			}
			f, err = os.Create("/tmp/within")
			in.Must(err)
			in.Attempt("a sparse file within the limit", f.Truncate(1<<20), 0)
		},
	},
	{
		Name: "res/stdout", Row: "output flood on stdout", Ends: executor.CauseOutput,
		Outside: flood("stdout"), Inside: flooding,
	},
	{
		Name: "res/stderr", Row: "output flood on stderr", Ends: executor.CauseOutput,
		Outside: flood("stderr"), Inside: flooding,
	},
	{
		Name: "res/both-streams", Row: "output flood on stdout and stderr together", Ends: executor.CauseOutput,
		Outside: flood("stdout", "stderr"), Inside: flooding,
	},
	{
		Name: "res/volume", Row: "disk through a volume", Ends: executor.CauseDisk,
		Outside: volumeBomb, Inside: func(in *Inside) {
			for n := 0; ; n++ {
				if _, err := fillFile(fmt.Sprintf("/data/%d", n), 64<<10); err != nil {
					in.Attempt("fill a volume", err, syscall.ENOSPC, syscall.EDQUOT)
					return
				}
				time.Sleep(time.Millisecond)
			}
		},
	},
	{
		Name: "res/volume-inodes", Row: "many-inode files in a volume", Ends: executor.CauseDisk,
		Outside: volumeBomb, Inside: func(in *Inside) {
			for n := 0; ; n++ {
				if err := unix.Mknod(fmt.Sprintf("/data/%d", n), unix.S_IFREG|0o600, 0); err != nil {
					in.Attempt("one more empty file in a volume", err, syscall.ENOSPC, syscall.EDQUOT)
					return
				}
			}
		},
	},
	{
		Name: "res/volume-deep", Row: "deep directories in a volume", Ends: executor.CauseDisk,
		Outside: volumeBomb, Inside: func(in *Inside) {
			in.Must(os.Chdir("/data"))
			for {
				if err := os.Mkdir("d", 0o700); err != nil {
					in.Attempt("one more level in a volume", err, syscall.ENOSPC, syscall.EDQUOT)
					return
				}
				in.Must(unix.Chdir("d"))
			}
		},
	},
}

// flood writes to streams until the limit, which is for them together.
func flood(streams ...string) func(*Trial) {
	return bomb{
		args: streams, ends: executor.CauseOutput, key: "limits.output", limit: "64KiB",
		change: func(s *executor.Spec) { s.Limits.OutputBytes = 64 << 10 },
		then: func(t *Trial, r Result) {
			t.Check("bytes that were kept", len(r.Stdout)+len(r.Stderr), 64<<10)
		},
	}.outside
}

func flooding(in *Inside) {
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for {
		for _, s := range in.Args {
			if s == "stdout" {
				os.Stdout.Write(line)
			} else {
				os.Stderr.Write(line)
			}
		}
	}
}

// volumeBomb has a volume of 1 MiB filled. Who goes beyond it is told so by the file
// system, where that is what bounds it, or ended.
func volumeBomb(t *Trial) {
	n := t.neighbour()
	dir := t.Dir(nil)
	spec := t.Spec()
	spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: dir, Target: "/data", Writable: true, SizeBytes: 1 << 20})
	p := t.Start(spec)
	n.answersWhile(p)
	r := p.Wait()
	if r.Cause == executor.CauseDisk {
		t.Check("the limit that fired", r.Key+" "+r.Limit, "volumes.size 1MiB")
	} else {
		t.Check("the end", fmt.Sprint(r.Cause, r.Code), fmt.Sprint(executor.CauseExit, 0))
	}
	t.Check("what the neighbour got wrong", strings.Join(n.wrong, "; "), "")
}
