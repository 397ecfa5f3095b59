package audit

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
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

// DefaultRotate is how large a segment grows unless [Options] say something else.
const DefaultRotate = 64 << 20

// Options of a log. The zero value is what an application has that says nothing of it.
type Options struct {
	Rotate   int64         // bytes of a segment, 0 for DefaultRotate
	Keep     int           // full segments that are kept, 0 for all
	Every    int           // records between two checkpoints, 0 for DefaultEvery, at most MaxEvery
	Interval time.Duration // how long a record waits for one, 0 for DefaultInterval

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
	path     string
	now      func() time.Time
	disk     func() (free, total uint64)
	weak     string // the Degraded of every record
	signer   ed25519.PrivateKey
	key      Key
	every    int
	interval time.Duration
	rotate   int64
	keep     int

	moving sync.WaitGroup // while the log moves on to another segment

	mu    sync.Mutex
	began uint64 // the last record that was there already
	file  file
	seq   uint64   // of the last record
	prev  [64]byte // hash of the last line, in hex
	buf   []byte   // whole lines, not yet written,
	done  int      // but for so many bytes
	timer *time.Timer
	armed bool  // the timer will flush
	low   bool  // the disk was nearly full when last looked at
	told  bool  // and that is in the log
	err   error // once set, nothing is recorded any more
	stuck *jam  // nil while what is in the buffer can be written

	signed    uint64 // number of the last checkpoint
	unsigned  int    // records since
	last      Why    // of the last record if it is a checkpoint
	signTimer *time.Timer
	signing   bool // signTimer will sign

	segment uint64 // the one that is written to, from 1
	begin   uint64 // the first record that is still there
	size    int64  // of the segment
	full    int64  // at this size it ends
	closing bool   // no rotation begins any more

	watchers []*Watcher
}

// file is what Log needs of one.
type file interface {
	io.WriteCloser
	Sync() error
}

// newLog returns a log that writes to f and goes on after what e says.
func newLog(f *os.File, opts Options, signer ed25519.PrivateKey, e end) *Log {
	l := &Log{
		path:     f.Name(),
		file:     f,
		now:      opts.Now,
		disk:     opts.Disk,
		weak:     strings.Join(opts.Degraded, " "),
		signer:   signer,
		key:      publicOf(signer),
		every:    cmp.Or(opts.Every, DefaultEvery),
		interval: cmp.Or(opts.Interval, DefaultInterval),
		rotate:   cmp.Or(opts.Rotate, DefaultRotate),
		keep:     opts.Keep,
		began:    e.seq,
		seq:      e.seq,
		prev:     e.hash,
		buf:      make([]byte, 0, flushBytes+2*MaxLine),
		signed:   e.signed,
		last:     e.why,
		segment:  e.segment,
		begin:    e.begin,
		size:     e.size,
	}
	l.full = l.rotate
	if l.now == nil {
		l.now = time.Now
	}
	if l.disk == nil {
		l.disk = func() (free, total uint64) { return space(filepath.Dir(l.path)) }
	}
	l.timer = time.AfterFunc(time.Hour, l.tick)
	l.timer.Stop()
	l.signTimer = time.AfterFunc(time.Hour, l.signTick)
	l.signTimer.Stop()
	return l
}

// Append records r with the next number, the time and the hash of the line
// before, and returns that number.
//
// After the first error of the file it records nothing more and returns that
// error for ever: whoever must not act without a record stops acting. What
// stood in the buffer then, at most 10 ms of permissions, may be lost. While the disk is full
// it records nothing either, and goes on once there is room, see jam.
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
	if l.stuck != nil && !l.goOn() {
		l.stuck.lost++
		return 0, l.failed()
	}
	if (r.Verdict == Allow || r.Kind == KindStart) && l.low && l.isFull() {
		return 0, ErrFull
	}
	return l.append(r)
}

// append records r. The caller holds mu.
func (l *Log) append(r Record) (uint64, error) {
	r.Seq = l.seq + 1
	r.Time = l.now()
	r.Degraded = l.weak
	r.Checkpoint = nil
	start := len(l.buf)
	l.buf = appendRecord(l.buf, &r, l.prev[:])
	l.seq = r.Seq
	line := l.buf[start:]
	l.prev = hashLine(line)

	l.last = ""
	l.unsigned++
	if l.unsigned >= l.every {
		l.checkpoint(WhyCount)
	} else if !l.signing {
		l.signing = true
		l.signTimer.Reset(l.interval)
	}
	if r.Verdict == Deny || r.Kind != KindDecision || len(l.buf) >= flushBytes {
		l.flush()
	} else if !l.armed {
		l.armed = true
		l.timer.Reset(flushDelay)
	}
	if l.err != nil {
		return 0, l.err
	}
	for _, w := range l.watchers {
		w.offer(r, line)
	}
	if l.stuck != nil { // it will be in the file, and who asked is told that it is not
		l.stuck.undone = r.Seq
		return 0, l.failed()
	}
	return r.Seq, nil
}

// Flush hands to the kernel what is in the buffer.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	return l.failed()
}

// Head hands to the kernel what is in the buffer, and returns where the log ends.
func (l *Log) Head() (Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	return Head{l.seq, string(l.prev[:])}, l.failed()
}

// Appended is how many records this log has taken since it was opened.
func (l *Log) Appended() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq - l.began
}

// Path is the name of the file, as it was opened.
func (l *Log) Path() string { return l.path }

// Key is the public key that the log signs with.
func (l *Log) Key() Key { return l.key }

// Close signs the log, writes the rest to the disk and gives the file up. It returns
// the error that ended the log, if there was one. Closing twice is no error.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.moving.Wait()

	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.err, ErrClosed) {
		return nil
	}
	l.timer.Stop()
	l.signTimer.Stop()
	if l.stuck != nil {
		l.goOn()
	}
	if l.seq > 0 && l.last != WhyClose {
		l.checkpoint(WhyClose)
	}
	l.flush()
	if l.err = l.failed(); l.err == nil {
		if err := l.file.Sync(); err != nil {
			l.err = fmt.Errorf("audit log: %w", err)
		}
	}
	err := l.err
	if cerr := l.file.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("audit log: %w", cerr)
	}
	l.err = ErrClosed
	for _, w := range l.watchers {
		w.end()
	}
	l.watchers = nil
	return err
}

// tick is what the timer does.
func (l *Log) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = false
	if l.stuck != nil {
		l.goOn()
		return
	}
	l.flush()
}

// flush writes the buffer. The caller holds mu.
func (l *Log) flush() {
	if l.err != nil || len(l.buf) == 0 {
		return
	}
	n, err := l.file.Write(l.buf[l.done:])
	l.size += int64(n)
	l.low = l.nearlyFull()
	if noRoom(err) {
		l.done += n
		l.jam(err)
		return
	}
	if err != nil {
		l.err = fmt.Errorf("audit log: %w", err)
	}
	l.buf, l.done = l.buf[:0], 0
	if l.size >= l.full && l.err == nil && !l.closing {
		l.full = math.MaxInt64 // once
		l.moving.Add(1)
		go l.moveOn()
	}
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
