package audit

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"syscall"
)

// moveOn goes on in another segment. Most of the full one is on the disk before
// anybody is held up. If it cannot, that is recorded, and tried again when the
// segment has grown by a quarter.
func (l *Log) moveOn() {
	defer l.moving.Done()
	l.mu.Lock()
	f := l.file
	l.mu.Unlock()
	f.Sync() // and again, with the rest, before the segment counts as full

	l.mu.Lock()
	defer l.mu.Unlock()
	l.moveOnLocked()
}

// moveOnLocked is the part of moveOn that needs mu.
func (l *Log) moveOnLocked() {
	l.full = math.MaxInt64
	if l.flush(); l.failed() != nil {
		l.full = l.size + l.rotate/4
		return
	}
	err := l.nextSegment()
	if err == nil {
		l.full = l.rotate
		err = l.drop()
	} else {
		l.full = l.size + l.rotate/4
	}
	if err != nil && l.failed() == nil {
		l.append(Record{Kind: KindApp, Op: "rotate", Object: "audit log", Detail: err.Error()})
	}
}

// nextSegment makes an empty file, gives the present one its name as a full segment,
// and puts the new one in its place: at no moment is there none. Open takes up what a
// crash leaves of it.
func (l *Log) nextSegment() error {
	part := l.path + ".new"
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	next, err := os.OpenFile(part, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	undo := func(err error) error {
		next.Close()
		os.Remove(part)
		return err
	}
	if err := syscall.Flock(int(next.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return undo(fmt.Errorf("lock: %w", err))
	}
	l.checkpoint(WhyRotate)
	if l.flush(); l.failed() != nil {
		return undo(l.failed())
	}
	if err := l.file.Sync(); err != nil {
		l.err = fmt.Errorf("audit log: %w", err) // nobody knows what of it is on the disk
		return undo(l.err)
	}
	if err := os.Link(l.path, segmentPath(l.path, l.segment)); err != nil {
		return undo(err)
	}
	if err := os.Rename(part, l.path); err != nil {
		os.Remove(segmentPath(l.path, l.segment))
		return undo(err)
	}
	err = syncDir(filepath.Dir(l.path))
	l.file.Close()
	l.file = next
	l.size = 0
	l.segment++
	return err
}

// drop deletes the segments that are more than are kept. That is recorded and signed
// first: what is missing otherwise was deleted by somebody else.
func (l *Log) drop() error {
	if l.keep == 0 {
		return nil
	}
	full, err := segmentsOf(l.path)
	if err != nil || len(full) <= l.keep {
		return err
	}
	old, kept := full[:len(full)-l.keep], full[len(full)-l.keep:]
	begin, err := firstOf(kept[0].path)
	if err != nil {
		return fmt.Errorf("nothing is deleted: %w", err)
	}
	if begin > l.begin {
		detail := fmt.Sprintf("records %s to %s are deleted, and begin with record %s after that: audit.keep is %d", ID(l.begin), ID(begin-1), ID(begin), l.keep)
		l.begin = begin
		if _, err := l.append(Record{Kind: KindApp, Op: "drop", Object: "audit log", Detail: detail}); err != nil {
			return err
		}
		l.checkpoint(WhyDrop)
		if l.flush(); l.failed() != nil {
			return l.failed()
		}
		if err := l.file.Sync(); err != nil {
			return err
		}
	}
	for _, seg := range old {
		if err := os.Remove(seg.path); err != nil {
			return err
		}
	}
	return nil
}

// firstOf is the number of the first record of a segment.
func firstOf(path string) (seq uint64, err error) {
	f, err := openRegular(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	err = scan(io.LimitReader(f, MaxLine), 0, true, func(r Record) error {
		seq = r.Seq
		return errFound
	})
	if !errors.Is(err, errFound) {
		return 0, errors.Join(err, fmt.Errorf("%s has no first record", path))
	}
	return seq, nil
}
