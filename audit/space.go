package audit

import (
	"errors"
	"syscall"
)

// What is left free on the disk of a log: so much, but of a small disk no more than
// a part.
const (
	reserveBytes = 256 << 20
	reservePart  = 20
)

// ErrFull is returned by [Log.Append] while less than the reserve is free.
var ErrFull = errors.New("audit log: the disk is nearly full: nothing more is permitted until there is room")

// isFull looks again, and leaves one record of what it found. The caller holds mu.
func (l *Log) isFull() bool {
	if l.low = l.nearlyFull(); !l.low {
		l.told = false
		return false
	}
	if !l.told {
		l.told = true
		// Should it fail, so does the next one.
		l.append(Record{Kind: KindApp, Op: "full", Object: "audit log", Detail: ErrFull.Error()})
	}
	return true
}

func (l *Log) nearlyFull() bool {
	free, total := l.disk()
	return free < min(reserveBytes, total/reservePart)
}

// space is what an ordinary user can still store in dir, and how large that is, in
// bytes. An error of the kernel is no reason to stop: that of a write is.
func space(dir string) (free, total uint64) {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil {
		return 1, 0
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize)
}
