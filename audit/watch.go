package audit

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
)

// Bounds of watchers.
const (
	watchBytes  = 256 << 10 // of lines that one has not taken yet
	maxWatchers = 32
)

// Watcher gets lines as they are recorded. One that does not take them in time loses
// some, and is told how many; the log never waits for it.
type Watcher struct {
	log   *Log
	want  func(Record) bool
	ready chan struct{} // has one when there is something to take

	mu    sync.Mutex
	lines []byte // whole ones
	lost  uint64 // after those
	ended bool
}

// Watch returns a watcher of what is recorded from now on, and where the log ends now;
// all up to there is in the files. want chooses; it is called while the log is locked.
func (l *Log) Watch(want func(Record) bool) (*Watcher, Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	if err := l.failed(); err != nil {
		return nil, Head{}, err
	}
	if len(l.watchers) == maxWatchers {
		return nil, Head{}, errors.New("32 watch already, and that is all that can")
	}
	w := &Watcher{log: l, want: want, ready: make(chan struct{}, 1)}
	l.watchers = append(l.watchers, w)
	return w, Head{l.seq, string(l.prev[:])}, nil
}

// Close ends it.
func (w *Watcher) Close() {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	w.log.watchers = slices.DeleteFunc(w.log.watchers, func(o *Watcher) bool { return o == w })
}

// Next waits for lines, and returns them and how many were lost after them. They are
// the caller's. The error is that of ctx, or [io.EOF] once the log is closed.
func (w *Watcher) Next(ctx context.Context) (lines []byte, lost uint64, err error) {
	for {
		w.mu.Lock()
		lines, lost = w.lines, w.lost
		w.lines, w.lost = nil, 0
		ended := w.ended
		w.mu.Unlock()
		switch {
		case len(lines) > 0 || lost > 0:
			return lines, lost, nil
		case ended:
			return nil, 0, io.EOF
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// offer gives it a record that is in the file, or in the buffer if it permits
// something. The caller holds the lock of the log.
func (w *Watcher) offer(r Record, line []byte) {
	if !w.want(r) {
		return
	}
	w.mu.Lock()
	// What is lost is counted in one place: nothing comes after it until that is told.
	if w.lost > 0 || len(w.lines)+len(line) > watchBytes {
		w.lost++
	} else {
		w.lines = append(w.lines, line...)
	}
	w.mu.Unlock()
	w.wake()
}

// end tells it that nothing more comes.
func (w *Watcher) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.wake()
}

func (w *Watcher) wake() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}
