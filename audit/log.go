package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	flushBytes = 64 << 10
	flushDelay = 10 * time.Millisecond
)

// ErrClosed is returned by [Log.Append] after [Log.Close].
var ErrClosed = errors.New("log is closed")

// Options of a log. The zero value is what the daemon uses.
type Options struct {
	Now  func() time.Time            // nil means time.Now
	Disk func() (free, total uint64) // bytes where the file is; nil means to ask the kernel

	// Degraded is written into every record: the protections that are not there.
	Degraded []string
}

// Log is the writing end of an audit file. It is safe for concurrent use.
//
// A record is chained when Append returns; it is in the file at the latest 10 ms
// later, and at once if it denies something or is not a decision. In the file
// means given to the kernel: it survives the death of the process, and that of
// the machine only after Close or when the kernel has written it back.
type Log struct {
	path string
	file io.WriteCloser
	sync func() error
	now  func() time.Time
	disk func() (free, total uint64)
	weak string // the Degraded of every record

	mu    sync.Mutex
	began uint64   // the last record that was there already
	seq   uint64   // of the last record
	prev  [64]byte // hash of the last line, in hex
	buf   []byte   // whole lines, not yet written
	timer *time.Timer
	armed bool  // the timer will flush
	low   bool  // the disk was nearly full when last looked at
	told  bool  // and that is in the log
	err   error // once set, nothing is recorded any more
}

// newLog returns a log that goes on after record seq, whose line hashes to prev.
func newLog(f *os.File, opts Options, seq uint64, prev [64]byte) *Log {
	l := &Log{
		path:  f.Name(),
		file:  f,
		sync:  f.Sync,
		now:   opts.Now,
		disk:  opts.Disk,
		weak:  strings.Join(opts.Degraded, " "),
		began: seq,
		seq:   seq,
		prev:  prev,
		buf:   make([]byte, 0, flushBytes+MaxLine),
	}
	if l.now == nil {
		l.now = time.Now
	}
	if l.disk == nil {
		l.disk = func() (free, total uint64) { return space(f) }
	}
	l.timer = time.AfterFunc(time.Hour, l.tick)
	l.timer.Stop()
	return l
}

// Append records r with the next number, the time and the hash of the line
// before, and returns that number.
//
// After the first error of the file it records nothing more and returns that
// error for ever: whoever must not act without a record stops acting. What
// stood in the buffer then, at most 10 ms of permissions, may be lost.
//
// While the disk is nearly full it returns [ErrFull] for permissions and starts:
// what a program may do, it can do until the log has filled the disk of the host.
// Refusals and ends are recorded on, which the monitor sees to are few.
func (l *Log) Append(r Record) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.err != nil {
		return 0, l.err
	}
	if (r.Verdict == Allow || r.Kind == KindStart) && l.low && l.full() {
		return 0, ErrFull
	}
	return l.append(r)
}

// append records r. The caller holds mu.
func (l *Log) append(r Record) (uint64, error) {
	r.Seq = l.seq + 1
	r.Time = l.now()
	r.Degraded = l.weak
	start := len(l.buf)
	l.buf = appendRecord(l.buf, &r, l.prev[:])
	l.seq = r.Seq
	l.prev = hashLine(l.buf[start:])

	if r.Verdict == Deny || r.Kind != KindDecision || len(l.buf) >= flushBytes {
		l.flush()
	} else if !l.armed {
		l.armed = true
		l.timer.Reset(flushDelay)
	}
	if l.err != nil {
		return 0, l.err
	}
	return r.Seq, nil
}

// Flush hands to the kernel what is in the buffer.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	return l.err
}

// Head is the number of the last record and the hash of its line, in hex. Kept
// elsewhere, it is the anchor that shows a log cut short at the end.
func (l *Log) Head() (seq uint64, hash string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq, string(l.prev[:])
}

// Appended is how many records this log has taken since it was opened.
func (l *Log) Appended() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq - l.began
}

// Path is the name of the file, as it was opened.
func (l *Log) Path() string { return l.path }

// Close writes the rest to the disk and gives the file up. It returns the error
// that ended the log, if there was one. Closing twice is no error.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()

	if errors.Is(l.err, ErrClosed) {
		return nil
	}
	l.timer.Stop()
	l.flush()
	if l.err == nil {
		if err := l.sync(); err != nil {
			l.err = fmt.Errorf("audit log: %w", err)
		}
	}
	err := l.err
	if cerr := l.file.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("audit log: %w", cerr)
	}
	l.err = ErrClosed
	return err
}

// tick is what the timer does.
func (l *Log) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = false
	l.flush()
}

// flush writes the buffer. The caller holds mu.
func (l *Log) flush() {
	if l.err != nil || len(l.buf) == 0 {
		return
	}
	if _, err := l.file.Write(l.buf); err != nil {
		l.err = fmt.Errorf("audit log: %w", err)
	}
	l.buf = l.buf[:0]
	l.low = l.nearlyFull()
}

// hashLine is the chain: SHA-256 of a whole line, line feed included, in hex.
func hashLine(line []byte) (h [64]byte) {
	sum := sha256.Sum256(line)
	hex.Encode(h[:], sum[:])
	return h
}

// noLine is the prev of the first record.
func noLine() (h [64]byte) {
	for i := range h {
		h[i] = '0'
	}
	return h
}
