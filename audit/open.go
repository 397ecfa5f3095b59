package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// ErrLocked says that another process writes the log.
var ErrLocked = errors.New("another process is writing to it")

// tailBytes is how far back Open looks for the last whole line: past the
// largest write that a crash can have torn, and the line before it.
const tailBytes = flushBytes + 3*MaxLine

// Open opens the log at path for writing, creating it (mode 0600) if it is not
// there, and goes on with its chain. The directory must be one that no confined
// program reaches.
//
// A last line torn by a crash is cut off, and that is the first thing recorded,
// with the text that was cut. Anything else that is wrong with the end of the
// file is an error, and the file stays as it is; the rest of it is not read
// (see [Verify]). [ErrLocked] says that somebody else writes the file; an error
// also meets a path that is a symbolic link, no regular file, or open to others.
func Open(path string, opts Options) (*Log, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	l, err := resume(f, opts)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("audit log %q: %w", path, err)
	}
	return l, nil
}

func resume(f *os.File, opts Options) (*Log, error) {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file but %v", info.Mode().Type())
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("mode is %#o: others than its owner may use it", perm)
	}
	end, err := readEnd(f, info.Size())
	if err != nil {
		return nil, err
	}
	if len(end.torn) == 0 {
		return newLog(f, opts, end.seq, end.hash), nil
	}
	if err := f.Truncate(info.Size() - int64(len(end.torn))); err != nil {
		return nil, fmt.Errorf("cut off a torn last line: %w", err)
	}
	l := newLog(f, opts, end.seq, end.hash)
	_, err = l.Append(Record{
		Kind:   KindApp,
		Op:     "repair",
		Object: "audit log",
		Detail: fmt.Sprintf("cut off a torn last line of %d bytes: %s", len(end.torn), end.torn),
	})
	return l, err
}

// end is how a log ends.
type end struct {
	seq  uint64   // of the last whole record, 0 if there is none
	hash [64]byte // of its line
	torn []byte   // what follows it
}

func readEnd(f *os.File, size int64) (end, error) {
	tail := make([]byte, min(size, tailBytes))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return end{}, fmt.Errorf("read its end: %w", err)
	}
	cut := bytes.LastIndexByte(tail, '\n') + 1
	lines, torn := tail[:cut], tail[cut:]
	if len(lines) == 0 {
		// A crash during the very first write leaves the beginning of a
		// record. Whatever else stands there is somebody's file, not a log.
		if int64(len(torn)) < size || !beginsRecord(torn) {
			return end{}, errors.New("not an audit log: no line of it is a record")
		}
		return end{hash: noLine(), torn: torn}, nil
	}
	line := lines[bytes.LastIndexByte(lines[:len(lines)-1], '\n')+1:]
	r, err := decode(line)
	if err != nil {
		return end{}, fmt.Errorf("its last line is %w", err)
	}
	return end{seq: r.Seq, hash: hashLine(line), torn: torn}, nil
}

func beginsRecord(b []byte) bool {
	const begin = `{"seq":1,"time":"`
	return strings.HasPrefix(string(b), begin[:min(len(begin), len(b))])
}
