package supervisor

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Bounds of what services may print: a line, and the log file of a service,
// of which one older copy is kept.
const (
	maxLineBytes = 8 << 10
	maxLogBytes  = 4 << 20
)

// logs keeps what services print: one bounded file of JSON lines per service.
type logs struct {
	dir    string
	output func(Line)

	mu       sync.Mutex
	line     []byte // the last one that was written
	files    map[string]*logFile
	watchers map[chan Line]struct{}
}

type logFile struct {
	f       *os.File
	size    int64  // with what is pending
	pending []byte // lines that are to be written
}

func newLogs(dir string, output func(Line)) *logs {
	return &logs{dir: dir, output: output, files: make(map[string]*logFile), watchers: make(map[chan Line]struct{})}
}

// stream returns a writer that takes what one stream of one instance prints.
func (l *logs) stream(service, instance, stream string) *lineWriter {
	return &lineWriter{
		emit: func(text []byte) { l.gather(origin{service, instance, stream}, time.Now(), text) },
		done: func() { l.flush(service) },
	}
}

// add writes one line. A log that cannot be written is no reason to stop the
// service: what was decided is in the audit log, which is.
func (l *logs) add(from origin, text string) {
	l.gather(from, time.Now(), []byte(text))
	l.flush(from.service)
}

// gather is add but for the writing: what has come at once is written at once.
func (l *logs) gather(from origin, at time.Time, text []byte) {
	if l.output != nil {
		l.output(from.line(at, text))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.watchers) > 0 {
		line := from.line(at, text)
		for w := range l.watchers {
			select {
			case w <- line:
			default: // who does not keep up misses lines, not we
			}
		}
	}
	l.line = append(from.appendJSON(l.line[:0], at, text), '\n')
	file := l.files[from.service]
	if file == nil || file.size+int64(len(l.line)) > maxLogBytes {
		if file = l.rotate(from.service, file); file == nil {
			return
		}
	}
	file.pending = append(file.pending, l.line...)
	file.size += int64(len(l.line))
}

// flush writes what was gathered of a service.
func (l *logs) flush(service string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if file := l.files[service]; file != nil {
		file.flush()
	}
}

func (f *logFile) flush() {
	f.f.Write(f.pending)
	f.pending = f.pending[:0]
}

func (l *logs) path(service string) string { return filepath.Join(l.dir, service+".jsonl") }

// rotate opens the file of a service, putting a full one aside.
func (l *logs) rotate(service string, full *logFile) *logFile {
	path := l.path(service)
	if full != nil {
		full.flush()
		full.f.Close()
		os.Rename(path, path+".1")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		delete(l.files, service)
		return nil
	}
	opened := &logFile{f: f}
	if info, err := f.Stat(); err == nil {
		opened.size = info.Size()
	}
	l.files[service] = opened
	if opened.size > maxLogBytes && full == nil {
		return l.rotate(service, opened)
	}
	return opened
}

// watch delivers lines from now on, until stop is called.
func (l *logs) watch() (lines <-chan Line, stop func()) {
	ch := make(chan Line, 1024)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers[ch] = struct{}{}
	return ch, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watchers, ch)
	}
}

func (l *logs) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, file := range l.files {
		file.flush()
		file.f.Close()
	}
	l.files = make(map[string]*logFile)
}

// lineWriter cuts a stream into lines of at most maxLineBytes.
type lineWriter struct {
	mu   sync.Mutex
	part []byte
	emit func([]byte) // which keeps nothing of it
	done func()       // after those that came at once; nil for nothing
}

// Write never fails.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done != nil {
		defer w.done()
	}
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			i = len(p)
		}
		room := maxLineBytes - len(w.part)
		switch {
		case i > room:
			w.emitWith(p[:room])
			p = p[room:]
		case i < len(p):
			w.emitWith(p[:i])
			p = p[i+1:]
		default:
			w.part, p = append(w.part, p...), nil
		}
	}
	return n, nil
}

// emitWith emits what there is of a line, with the rest of it.
func (w *lineWriter) emitWith(rest []byte) {
	if len(w.part) == 0 {
		w.emit(rest)
		return
	}
	w.emit(append(w.part, rest...))
	w.part = w.part[:0]
}

// Close emits a last line that has no end.
func (w *lineWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.part) > 0 {
		w.emit(w.part)
		w.part = nil
		if w.done != nil {
			w.done()
		}
	}
	return nil
}
