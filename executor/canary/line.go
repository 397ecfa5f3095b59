package canary

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxReport bounds what the canary says.
const maxReport = 4 << 10

// line is where the canary's answers come: its standard output is a socket, for
// the kernel then adds to the message who sent it.
type line struct {
	ours   *net.UnixConn
	theirs *os.File
}

// ids is who sent a message, in the numbers of the trusted process, and whether the
// executor knows who connected: see peer.go.
type ids struct {
	uid, gid       int
	peer, stranger string
}

func newLine() (*line, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket for the answers: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "canary"), os.NewFile(uintptr(pair[1]), "canary")
	defer ours.Close()
	if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		theirs.Close()
		return nil, fmt.Errorf("have the kernel say who answers: %w", err)
	}
	c, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, err
	}
	return &line{ours: c.(*net.UnixConn), theirs: theirs}, nil
}

func (l *line) close() {
	l.ours.Close()
	l.theirs.Close()
}

// read waits for the one message that there is.
func (l *line) read(deadline time.Time) (string, ids, error) {
	l.ours.SetReadDeadline(deadline)
	text, oob := make([]byte, maxReport), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	n, oobn, flags, _, err := l.ours.ReadMsgUnix(text, oob)
	switch {
	case err != nil:
		return "", ids{}, err
	case n == 0:
		return "", ids{}, errors.New("it said nothing")
	case flags&unix.MSG_TRUNC != 0:
		return "", ids{}, fmt.Errorf("it said more than %d bytes", maxReport)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return "", ids{}, errors.Join(errors.New("the kernel does not say who answers"), err)
	}
	cred, err := unix.ParseUnixCredentials(&msgs[0])
	if err != nil {
		return "", ids{}, err
	}
	return string(text[:n]), ids{uid: int(cred.Uid), gid: int(cred.Gid)}, nil
}
