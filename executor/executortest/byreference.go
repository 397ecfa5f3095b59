package executortest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"syscall"

	"cofferdam/internal/linux/raw"

	"golang.org/x/sys/unix"
)

// referenceCases send memory itself, and not what is in it, to change it when it was sent: a relay moves what comes, and
// would move that.
var referenceCases = []Case{{
	Name: "ipc/by-reference", Row: "what was sent is changed before it is read",
	Invisible: byFilter,
	Outside: func(t *Trial) {
		t.Run(t.Spec())
		free := t.Spec("free")
		free.Sendfile = true
		t.Run(free)
	},
	Inside: func(in *Inside) {
		if in.Part() == "free" {
			free(in)
			return
		}
		byReference(in)
	},
}}

// free has what its spec gives it, without which the attempts of others would show nothing, and no more than that.
func free(in *Inside) {
	w := wires(in)[0]
	w.fill('a')
	_, err := unix.Sendfile(w.from, w.file, nil, pageBytes)
	in.Attempt("send a file, where that is granted", err, 0)
	w.peeked()
	w.fill('b')
	in.Check("what is seen then", w.peeked(), fmt.Sprint("b ", pageBytes, " <nil>"))
	in.Attempt("put memory into a pipe", raw0(unix.SYS_VMSPLICE, 1, nil, 0, 0), unix.EPERM)
	in.Attempt("operations that wait in a ring", raw0(unix.SYS_IO_URING_SETUP, 8, make([]byte, 120)), unix.EPERM)
	in.Attempt("encryption by the kernel", unix.SetsockoptString(w.from, unix.SOL_TCP, unix.TCP_ULP, "tls"), unix.ENOPROTOOPT)
}

// pageBytes is what each attempt sends.
const pageBytes = 4096

// wire is a connection, and memory of a file that is to be sent over it.
type wire struct {
	name     string
	from, to int
	file     int
	mem      []byte // the file's, shared
}

func (w *wire) fill(b byte) { copy(w.mem, bytes.Repeat([]byte{b}, pageBytes)) }

// peeked is what the reader sees of what was sent, without taking it.
func (w *wire) peeked() string {
	b := make([]byte, pageBytes)
	n, _, err := unix.Recvfrom(w.to, b, unix.MSG_PEEK|unix.MSG_WAITALL)
	return fmt.Sprint(string(b[:min(max(n, 0), 1)]), " ", n, " ", err)
}

// wires are connections of every kind that there is.
func wires(in *Inside) (all []*wire) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	in.Must(err)
	c, err := net.Dial("tcp", l.Addr().String())
	in.Must(err)
	a, err := l.Accept()
	in.Must(err)
	file := func(c any) int {
		f, err := c.(interface{ File() (*os.File, error) }).File()
		in.Must(err)
		fd, err := unix.Dup(int(f.Fd())) // blocks
		in.Must(err)
		return fd
	}
	all = append(all, &wire{name: "TCP", from: file(c), to: file(a)})
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	in.Must(err)
	d, err := net.Dial("udp", u.LocalAddr().String())
	in.Must(err)
	all = append(all, &wire{name: "UDP", from: file(d), to: file(u)})
	for name, kind := range map[string]int{"a stream": unix.SOCK_STREAM, "datagrams": unix.SOCK_DGRAM, "packets": unix.SOCK_SEQPACKET} {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind, 0)
		in.Must(err)
		all = append(all, &wire{name: name, from: fds[0], to: fds[1]})
	}
	for n, w := range all {
		w.file, err = unix.Open(fmt.Sprintf("/dev/shm/sent%d", n), unix.O_RDWR|unix.O_CREAT, 0o600)
		in.Must(err)
		in.Must(unix.Ftruncate(w.file, pageBytes))
		w.mem, err = unix.Mmap(w.file, 0, pageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		in.Must(err)
	}
	return all
}

func byReference(in *Inside) {
	var pipe, second [2]int
	in.Must(unix.Pipe2(pipe[:], 0))
	in.Must(unix.Pipe2(second[:], 0))
	iov := func(b []byte) []byte { // struct iovec
		v := make([]byte, 16)
		putAddress(v, b)
		v[8], v[9] = byte(len(b)&0xff), byte(len(b)>>8)
		return v
	}
	for _, w := range wires(in) {
		try := func(what string, err error, want ...syscall.Errno) {
			in.Attempt(what+" over "+w.name, err, want...)
		}
		w.fill('a')
		_, err := unix.Sendfile(w.from, w.file, nil, pageBytes)
		try("send a file", err, unix.EINVAL)
		_, err = unix.Splice(w.file, new(int64), pipe[1], nil, pageBytes, 0)
		try("put a file into a pipe", err, unix.EINVAL)
		try("put memory into a pipe", raw0(unix.SYS_VMSPLICE, pipe[1], iov(w.mem), 1, unix.SPLICE_F_GIFT), unix.EPERM)
		_, err = unix.Write(pipe[1], w.mem[:1])
		in.Must(err)
		_, err = unix.Tee(pipe[0], second[1], 1, unix.SPLICE_F_NONBLOCK)
		try("put a pipe into another", err, unix.EINVAL)
		_, err = unix.Splice(pipe[0], nil, w.from, nil, 1, unix.SPLICE_F_NONBLOCK)
		try("send what is in a pipe", err, unix.EINVAL)
		_, err = unix.Splice(w.to, nil, second[1], nil, 1, unix.SPLICE_F_NONBLOCK)
		try("put what has come into a pipe", err, unix.EINVAL)
		_, err = unix.Read(pipe[0], make([]byte, 1))
		in.Must(err)
		_, err = unix.CopyFileRange(w.file, nil, w.from, nil, pageBytes, 0)
		try("copy a range of a file", err, unix.EINVAL, unix.EBADF)
		for what, option := range map[string]int{"references": unix.SO_ZEROCOPY, "memory kept": unix.SO_RESERVE_MEM} {
			for _, high := range []uintptr{0, 1 << 40} {
				_, errno := raw.Call(unix.SYS_SETSOCKOPT, w.from, high|unix.SOL_SOCKET, high|uintptr(option), []byte{1, 0, 0, 0}, 4)
				try("ask for "+what, errno, unix.ENOPROTOOPT)
			}
		}
		try("map what has come", raw0(unix.SYS_GETSOCKOPT, w.to, unix.SOL_TCP, unix.TCP_ZEROCOPY_RECEIVE, make([]byte, 64), []byte{64, 0, 0, 0}), unix.ENOPROTOOPT)
		try("encryption by the kernel", unix.SetsockoptString(w.from, unix.SOL_TCP, unix.TCP_ULP, "tls"), unix.ENOPROTOOPT)
		_, err = unix.Mmap(w.to, 0, pageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		try("map the buffers", err, unix.EPERM, unix.ENODEV)

		// Nothing is there to be read of all that; and where a flag says so, a copy is sent all the same.
		_, _, err = unix.Recvfrom(w.to, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		try("anything sent by then", err, unix.EAGAIN)
		const splicePages = 0x8000000 // MSG_SPLICE_PAGES, which is the kernel's own
		for what, flags := range map[string]int{"nothing said": 0, "by reference": unix.MSG_ZEROCOPY, "its pages": splicePages, "both": unix.MSG_ZEROCOPY | splicePages} {
			for how, send := range map[string]func() error{
				"sendto": func() error { return raw0(unix.SYS_SENDTO, w.from, w.mem, pageBytes, flags, nil, 0) },
				"sendmsg": func() error {
					return unix.Sendmsg(w.from, w.mem, nil, nil, flags)
				},
			} {
				w.fill('a')
				try(how+", "+what, send(), 0)
				w.fill('b')
				in.Check("what is seen of it over "+w.name, w.peeked(), fmt.Sprint("a ", pageBytes, " <nil>"))
				_, err := unix.Read(w.to, make([]byte, pageBytes))
				in.Must(err)
			}
		}
	}
	in.Attempt("write to one's own memory from outside", raw0(unix.SYS_PROCESS_VM_WRITEV, os.Getpid(), iov(make([]byte, 1)), 1, iov(make([]byte, 1)), 1, 0), unix.EPERM)
	in.Attempt("operations that wait in a ring", raw0(unix.SYS_IO_URING_SETUP, 8, make([]byte, 120)), unix.EPERM)
	in.Attempt("operations that wait", raw0(unix.SYS_IO_SETUP, 8, make([]byte, 8)), unix.EPERM)
	in.Attempt("one of them", raw0(unix.SYS_IO_SUBMIT, 0, 1, make([]byte, 8)), unix.EPERM)
	for name, family := range map[string]int{"XDP": unix.AF_XDP, "packets": unix.AF_PACKET, "KCM": unix.AF_KCM, "SMC": unix.AF_SMC, "the kernel's ciphers": unix.AF_ALG} {
		_, err := unix.Socket(family, unix.SOCK_STREAM, 0)
		in.Attempt("a socket for "+name, err, unix.EAFNOSUPPORT)
	}
}

// putAddress puts where b lies into the first bytes of v.
func putAddress(v, b []byte) {
	at := uint64(raw.Address(b))
	for i := range 8 {
		v[i] = byte(at >> (8 * i))
	}
}
