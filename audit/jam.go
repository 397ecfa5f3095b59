package audit

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// jam is a log whose disk is full. What could not be written stays in the buffer, where nothing comes
// after it: Append refuses. Once there is room the file goes on where it ended, in the middle of a line mostly, so
// that nothing is missing of what was recorded; what could not be is counted in a record.
type jam struct {
	err    error
	since  time.Time
	undone uint64 // a record that is in the buffer, and of which it was said that it is not; 0 for none
	lost   uint64 // how many were refused after that
}

// jamDelay is after what time it is tried again, if nobody has anything to record before.
const jamDelay = time.Second

// noRoom tells whether err is one of a disk that may have room later.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// failed is why nothing is recorded, nil if it is.
func (l *Log) failed() error {
	if l.err == nil && l.stuck != nil {
		return l.stuck.err
	}
	return l.err
}

// jam notes that the disk is full. The caller holds mu.
func (l *Log) jam(err error) {
	if l.stuck == nil {
		l.stuck = &jam{since: l.now()}
	}
	l.stuck.err = fmt.Errorf("audit log: %w: nothing is permitted until there is room", err)
	l.armed = true
	l.timer.Reset(jamDelay)
}

// goOn tries to write again, and tells whether the log goes on. The caller holds mu.
func (l *Log) goOn() bool {
	l.flush()
	j := l.stuck
	if l.err != nil || len(l.buf) > 0 {
		return false
	}
	l.stuck, l.armed = nil, false
	detail := fmt.Sprintf("the disk was full since %s: %d records could not be made", j.since.UTC().Format(time.RFC3339Nano), j.lost)
	if j.undone > 0 {
		detail += fmt.Sprintf(", and of record %s it was said that it could not", ID(j.undone))
	}
	_, err := l.append(Record{Kind: KindApp, Op: "resume", Object: "audit log", Detail: detail})
	if l.stuck != nil { // full again: that record waits, and says what was before
		l.stuck.undone = 0
	}
	return err == nil
}
