package canary

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Connecting is done by hand: the net package would ask the runtime for threads
// and a poller, and say less of what went wrong.

func dialTCP(t *told) string {
	at, err := netip.ParseAddrPort(t.TCP)
	if err != nil {
		return word(err)
	}
	return dial(unix.AF_INET, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())})
}

func dialAbstract(t *told) string {
	return dial(unix.AF_UNIX, &unix.SockaddrUnix{Name: "@" + t.Abstract})
}

func dialPath(t *told) string { return dial(unix.AF_UNIX, &unix.SockaddrUnix{Name: t.Socket}) }

func dial(family int, to unix.Sockaddr) string {
	fd, err := connect(family, to)
	if err == nil {
		unix.Close(fd)
	}
	return word(err)
}

func connect(family int, to unix.Sockaddr) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, to); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
