package executortest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"cofferdam/internal/linux/raw"

	"golang.org/x/sys/unix"
)

// readOnly tries every way to change a file that is shown read-only and whose mode
// would let everybody.
func readOnly(in *Inside) {
	for _, name := range []string{"/ro/f", "/run/secret"} {
		for what, flags := range map[string]int{"write": os.O_WRONLY, "append": os.O_WRONLY | os.O_APPEND, "read and write": os.O_RDWR, "truncate": os.O_WRONLY | os.O_TRUNC} {
			_, err := os.OpenFile(name, flags, 0)
			in.Attempt(what+" "+name, err, unix.EROFS, unix.EACCES)
		}
		f, err := os.Open(name)
		in.Must(err)
		fd := int(f.Fd())
		again := fmt.Sprintf("/proc/self/fd/%d", fd)
		_, err = os.OpenFile(again, os.O_RDWR, 0)
		in.Attempt("open it again for writing", err, unix.EROFS, unix.EACCES)
		in.Attempt("truncate", os.Truncate(name, 0), unix.EROFS, unix.EACCES)
		in.Attempt("ftruncate", f.Truncate(0), unix.EINVAL, unix.EBADF)
		in.Attempt("allocate", unix.Fallocate(fd, 0, 0, 1<<20), unix.EBADF)
		in.Attempt("change its mode", os.Chmod(name, 0o777), unix.EROFS, unix.EPERM)
		in.Attempt("change its mode by descriptor", f.Chmod(0o777), unix.EROFS, unix.EPERM)
		in.Attempt("change its owner", os.Chown(name, 1000, 1000), unix.EROFS, unix.EPERM)
		in.Attempt("change its time", os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0)), unix.EROFS, unix.EPERM)
		in.Attempt("change an attribute", unix.Setxattr(name, "user.x", []byte("x"), 0), unix.EROFS, unix.EACCES, unix.EOPNOTSUPP, unix.EPERM)
		in.Attempt("change its flags", raw0(unix.SYS_IOCTL, fd, 0x40086602, make([]byte, 8)), unix.EROFS, unix.EPERM, unix.ENOTTY, unix.EOPNOTSUPP, unix.EACCES, unix.EBADF)
		in.Attempt("remove", os.Remove(name), unix.EROFS, unix.EBUSY, unix.EACCES)
		in.Attempt("replace", os.Rename("/ro/d/g", name), unix.EROFS, unix.EXDEV, unix.EACCES)
		_, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		in.Attempt("map shared and writable", err, unix.EACCES)
		m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
		in.Must(err)
		in.Attempt("make the mapping writable", unix.Mprotect(m, unix.PROT_READ|unix.PROT_WRITE), unix.EACCES)
		// Writing through the debugger's door to a mapping that is read-only.
		mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
		in.Must(err)
		at := int64(raw.Address(m))
		_, err = mem.WriteAt([]byte("overwritten"), at)
		in.Attempt("write to a shared mapping through /proc/self/mem", err, unix.EIO, unix.EFAULT)
		private, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE)
		in.Must(err)
		// Dirty COW: to a private one it may go, into a copy.
		mem.WriteAt([]byte("overwritten"), int64(raw.Address(private)))
		dirtyCOW(mem, private)
		in.Check("the file after writing to a private mapping", sameBegin(name), true)
		dirtyPipe(in, fd, name)
		_, err = f.Seek(0, io.SeekStart)
		in.Must(err)
		in.Check("the file after all", sameBegin(name), true)
	}
	out, err := os.Create("/tmp/out")
	in.Must(err)
	ro, err := os.Open("/ro/f")
	in.Must(err)
	_, err = unix.CopyFileRange(int(out.Fd()), nil, int(ro.Fd()), nil, 10, 0)
	in.Attempt("copy a range into it", err, unix.EBADF)
	in.Attempt("clone into it", raw0(unix.SYS_IOCTL, int(ro.Fd()), 0x40049409, int(out.Fd())), unix.EBADF, unix.EXDEV, unix.EOPNOTSUPP, unix.ENOTTY)
	in.Attempt("make a file", os.WriteFile("/ro/new", nil, 0o600), unix.EROFS, unix.EACCES)
	_, err = unix.Open("/ro", unix.O_TMPFILE|unix.O_WRONLY, 0o600)
	in.Attempt("make a file without a name", err, unix.EROFS, unix.EACCES, unix.EOPNOTSUPP)
	in.Attempt("make a directory", os.Mkdir("/ro/dir", 0o700), unix.EROFS, unix.EACCES)
	in.Attempt("make a link", os.Symlink("f", "/ro/l"), unix.EROFS, unix.EACCES)
	in.Attempt("lock it for writing", lockForWriting(ro), unix.EBADF)
}

func lockForWriting(f *os.File) error {
	return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
}

// sameBegin tells whether the file still begins as it did.
func sameBegin(name string) bool {
	b, err := os.ReadFile(name)
	return err == nil && bytes.Equal(b, bytes.Repeat([]byte("as it was "), 1000))
}

// dirtyCOW races the copy of a page against its being thrown away (CVE-2016-5195).
func dirtyCOW(mem *os.File, private []byte) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2000 {
			unix.Madvise(private, unix.MADV_DONTNEED)
		}
	}()
	for range 2000 {
		mem.WriteAt([]byte("overwritten"), int64(raw.Address(private)))
	}
	<-done
}

// dirtyPipe leaves flags behind in the buffers of a pipe, has a page of the file put
// into one, and writes on (CVE-2022-0847).
func dirtyPipe(in *Inside, fd int, name string) {
	var p [2]int
	in.Must(unix.Pipe2(p[:], unix.O_NONBLOCK))
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	chunk := make([]byte, 4096)
	for {
		if _, err := unix.Write(p[1], chunk); err != nil {
			break
		}
	}
	for {
		if n, err := unix.Read(p[0], chunk); err != nil || n == 0 {
			break
		}
	}
	offset := int64(4)
	_, err := unix.Splice(fd, &offset, p[1], nil, 1, 0)
	in.Attempt("put a page of "+name+" into a pipe", err, unix.EINVAL)
	unix.Write(p[1], []byte("overwritten"))
	in.Check("the file after writing to that pipe", sameBegin(name), true)
	_, err = unix.Splice(p[0], nil, fd, nil, 1, 0)
	in.Attempt("splice into "+name, err, unix.EINVAL)
	_, err = unix.Tee(p[0], fd, 1, 0)
	in.Attempt("tee into "+name, err, unix.EINVAL)
}
