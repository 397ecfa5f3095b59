package executortest

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// memoryLimit is that of the bombs of memory. A Go program needs some of it itself.
const memoryLimit = 48 << 20

// memoryBomb ends by the limit of memory, or, where that is watched, by unwatched.
func memoryBomb(unwatched executor.Cause) bomb {
	return bomb{
		ends: executor.CauseOOM, key: "limits.memory", limit: "48MiB", watched: "cgroup.memory", unwatched: unwatched,
		change: func(s *executor.Spec) { s.Limits.MemoryBytes = memoryLimit },
	}
}

// memoryScript is memoryBomb in Python.
func memoryScript(script string) func(*Trial) {
	return func(t *Trial) {
		b := memoryBomb(executor.CauseExit)
		b.change = func(s *executor.Spec) {
			s.Limits.MemoryBytes = memoryLimit
			t.python(s, script)
		}
		b.outside(t)
	}
}

// memoryCases fill memory in every way that there is to have some.
var memoryCases = []Case{
	{
		Name: "res/heap", Row: "memory bomb", Ends: executor.CauseOOM,
		Outside: memoryBomb(executor.CauseOOM).outside,
		Inside: func(*Inside) {
			for {
				fill(1 << 20)
			}
		},
	},
	{
		Name: "res/oom-takes-all", Row: "OOM kills the whole instance, not a random child", Ends: executor.CauseOOM,
		Outside: memoryBomb(executor.CauseOOM).outside,
		Inside: func(in *Inside) {
			if in.Part() == "" {
				in.Must(in.Again("child").Run())
				select {} // and would go on without it
			}
			for {
				fill(1 << 20)
			}
		},
	},
	{
		Name: "res/many-small", Row: "limit counters per process instead of per tree (bubblewrap PR#192)", Ends: executor.CauseOOM,
		Outside: memoryBomb(executor.CauseOOM).outside,
		Inside: func(in *Inside) { // none of them has much
			if in.Part() == "" {
				for range 12 {
					in.Must(in.Again("child").Start())
				}
				time.Sleep(time.Hour)
			}
			fill(8 << 20)
			time.Sleep(time.Hour)
		},
	},
	{
		Name: "res/page-tables", Row: "memory through page tables", Ends: executor.CauseOOM,
		Outside: memoryBomb(executor.CauseOOM).outside,
		Inside: func(*Inside) {
			// Reading what was never written costs no memory but the tables that say so:
			// a page of them for each 2 MiB.
			const span, stride = 64 << 30, 2 << 20
			b, err := unix.Mmap(-1, 0, span, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			unix.Madvise(b, unix.MADV_NOHUGEPAGE)
			sum := byte(0)
			for at := 0; at < span; at += stride {
				sum += b[at]
			}
			time.Sleep(time.Second) // whoever watches has the time to see it
			os.Exit(int(sum))
		},
	},
	{
		Name: "res/tmpfs-size", Row: "memory through tmpfs", Invisible: "the file system answers ENOSPC by itself",
		Outside: bomb{ends: executor.CauseExit, change: func(s *executor.Spec) { s.Limits.TmpBytes = 4 << 20 }}.outside,
		Inside: func(in *Inside) {
			for _, dir := range []string{"/tmp", "/dev/shm"} {
				n, err := fillFile(dir+"/file", 16<<20)
				in.Attempt("fill "+dir, err, syscall.ENOSPC)
				in.Check("bytes in "+dir, n, 4<<20)
			}
		},
	},
	{
		Name: "res/tmpfs-memory", Row: "memory through tmpfs", Ends: executor.CauseOOM,
		// Where memory is watched, what is in a tmpfs is nobody's: its size bounds it.
		Outside: func(t *Trial) {
			b := memoryBomb(executor.CauseExit)
			b.change = func(s *executor.Spec) {
				s.Limits.MemoryBytes, s.Limits.TmpBytes, s.Limits.FileBytes = memoryLimit, 64<<20, 128<<20
			}
			b.outside(t)
		},
		Inside: func(in *Inside) {
			_, err := fillFile("/tmp/file", 128<<20)
			in.Attempt("fill a tmpfs that may be larger than memory", err, syscall.ENOSPC)
		},
	},
	{
		Name: "res/memfd", Row: "memory through memfd", Ends: executor.CauseOOM,
		Outside: memoryBomb(executor.CauseExit).outside,
		Inside: func(in *Inside) {
			for range 256 {
				fd, err := unix.MemfdCreate("bomb", 0)
				if err != nil {
					in.Attempt("memory without a mapping", err, syscall.ENOSYS)
					return
				}
				_, err = unix.Write(fd, make([]byte, 1<<20))
				in.Must(err)
			}
			in.Check("256 MiB in memfds", "had", "refused")
		},
	},
	{
		Name: "res/shared-anonymous", Row: "memory that is kept without being mapped", Ends: executor.CauseOOM,
		Outside: memoryBomb(executor.CauseExit).outside,
		Inside: func(in *Inside) {
			for range 256 {
				b, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
				if err != nil {
					in.Attempt("memory that a process can forget", err, syscall.EPERM)
					return
				}
				copy(b, bytes.Repeat([]byte{1}, 1<<20))
				unix.Madvise(b, unix.MADV_DONTNEED) // gone from the process, not from memory
			}
			in.Check("256 MiB in shared mappings", "had", "refused")
		},
	},
	{
		Name: "res/sysv-memory", Row: "memory through System V shared memory", Ends: executor.CauseOOM,
		Outside: memoryBomb(executor.CauseExit).outside,
		Inside: func(in *Inside) {
			for range 256 {
				id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 1<<20, unix.IPC_CREAT|0o600)
				if err != nil {
					in.Attempt("a segment of shared memory", err, syscall.ENOSYS)
					return
				}
				b, err := unix.SysvShmAttach(id, 0, 0)
				in.Must(err)
				copy(b, bytes.Repeat([]byte{1}, 1<<20))
				in.Must(unix.SysvShmDetach(b))
			}
			in.Check("256 MiB in segments", "had", "refused")
		},
	},
	{
		Name: "res/sysv-messages", Row: "memory through System V messages", Ends: executor.CauseOOM,
		Outside: memoryScript(`
text = ctypes.create_string_buffer(b"\1\0\0\0\0\0\0\0" + b"x" * 8192)
for i in range(32000):
    q, e = call(libc.msgget, 0, 0o1600)
    if q == -1:
        attempt("a queue of messages", e, "ENOSYS")
        sys.exit(0)
    while True:
        r, e = call(libc.msgsnd, q, text, 8192, 0o4000) # IPC_NOWAIT
        if r != 0:
            break
    if e == errno.ENOMEM: # some kernels refuse what the limit has no room for
        fill = []
        while True:
            fill.append(b"x" * (1 << 20))
check("500 MiB in messages", "had", "refused")
`),
	},
	{
		Name: "res/sysv-semaphores", Row: "memory through System V semaphores", Ends: executor.CauseOOM,
		Outside: memoryScript(`
for i in range(500): # of 32000 semaphores, 64 bytes each
    s, e = call(libc.semget, 0, 32000, 0o1600)
    if s == -1:
        attempt("a set of semaphores", e, "ENOSYS")
        sys.exit(0)
check("1 GiB in semaphores", "had", "refused")
`),
	},
	{
		Name: "res/pipes", Row: "memory through pipes", Ends: executor.CauseOOM,
		Outside: memoryBomb(executor.CauseExit).outside,
		Inside: func(in *Inside) {
			// /proc/sys/fs/pipe-user-pages-soft: 64 MiB of a user, beyond which a pipe has a
			// page or two and cannot be made larger.
			held, large := 0, 0
			for {
				var fds [2]int
				if err := unix.Pipe2(fds[:], unix.O_NONBLOCK); err != nil {
					in.Attempt("one more pipe", err, syscall.EMFILE)
					break
				}
				if _, err := unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, 1<<20); err == nil {
					large++
				}
				held += fillFD(fds[1])
			}
			in.Check("large pipes of one user", large <= 64, true)
			in.Check("bytes in pipes", held <= 80<<20, true)
		},
	},
	{
		Name: "res/socket-buffers", Row: "memory through socket buffers", Ends: executor.CauseOOM,
		// Where memory is watched they are bounded by their number only (docs/SECURITY.md).
		Outside: memoryBomb(executor.CauseExit).outside,
		Inside: func(in *Inside) {
			for {
				fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
				if err != nil {
					in.Attempt("one more socket", err, syscall.EMFILE)
					return
				}
				for _, fd := range fds {
					unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<30)
					fillFD(fd)
				}
			}
		},
	},
	{
		Name: "res/message-queues", Row: "memory through POSIX queues", Invisible: "the filter answers ENOSYS, and the program goes on",
		// They count for whoever made the namespace: a dozen environments would leave none to the host.
		Outside: func(t *Trial) {
			bomb{ends: executor.CauseExit, change: func(s *executor.Spec) {
				t.python(s, `
rt = ctypes.CDLL("librt.so.1", use_errno=True)
def queue(name, messages, size):
    attributes = (ctypes.c_long * 8)(0, messages, size, 0, 0, 0, 0, 0)
    return call(rt.mq_open, name, 0o102, 0o600, attributes)
attempt("a queue of 80 KiB", queue(b"/large", 10, 8192)[1], "ENOSYS")
attempt("the smallest queue", queue(b"/small", 1, 1)[1], "ENOSYS")
attempt("that of somebody", call(rt.mq_open, b"/neighbour", 2)[1], "ENOSYS")
attempt("remove one", call(rt.mq_unlink, b"/neighbour")[1], "ENOSYS")
check("the limit", resource.getrlimit(12), (0, 0)) # RLIMIT_MSGQUEUE
`)
			}}.outside(t)
		},
	},
}

// keep is what must not be collected.
var keep [][]byte

// fill takes n bytes of memory and uses them.
func fill(n int) {
	keep = append(keep, bytes.Repeat([]byte{1}, n))
	runtime.KeepAlive(keep)
}

// fillFile writes up to limit bytes and returns how many went in.
func fillFile(name string, limit int) (int, error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	chunk, total := make([]byte, 64<<10), 0
	for total < limit {
		n, err := f.Write(chunk)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// fillFD writes to a descriptor that does not block until nothing more goes in.
func fillFD(fd int) (total int) {
	chunk := make([]byte, 64<<10)
	for len(chunk) >= 2048 {
		n, err := unix.Write(fd, chunk)
		if err != nil {
			chunk = chunk[:len(chunk)/2] // a smaller piece may still have room
			continue
		}
		total += n
	}
	return total
}
