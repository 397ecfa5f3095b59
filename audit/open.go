package audit

import (
	"bytes"
	"crypto/ed25519"
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
// program reaches. The key beside it is made with the first log.
//
// A last line torn by a crash is cut off, and that is recorded, with the text that was
// cut. So is that the log was not closed: the first thing written then is a checkpoint
// that says so. Anything else that is wrong with the end of the log is an error, and so
// is a checkpoint of another key or a key that is gone; the files stay as they are then,
// and the rest of them is not read (see [Segments.Verify]). [ErrLocked] says that somebody else
// writes the file; an error also meets a path that is a symbolic link, no regular file, or
// open to others.
func Open(path string, opts Options) (*Log, error) {
	for again := 3; ; again-- {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
		l, err := resume(f, opts)
		if err == nil {
			return l, nil
		}
		f.Close()
		// Another one has moved on to the next segment between the two steps.
		if errors.Is(err, errMoved) && again > 0 {
			continue
		}
		return nil, fmt.Errorf("audit log %q: %w", path, err)
	}
}

// errMoved says that the file is not the one at its path any more.
var errMoved = errors.New("it was replaced while it was opened")

func resume(f *os.File, opts Options) (*Log, error) {
	if opts.Every > MaxEvery || opts.Every < 0 || opts.Rotate < 0 || opts.Keep < 0 {
		return nil, fmt.Errorf("options out of bounds: %+v", opts)
	}
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
	if same, err := isAt(f, f.Name()); err != nil || !same {
		return nil, errors.Join(err, errMoved)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("mode is %#o: others than its owner may use it", perm)
	}
	signer, err := readSigner(f.Name())
	if err != nil && !errors.Is(err, errNoKey) {
		return nil, err
	}
	e, err := endOf(f, info, signer)
	if err != nil {
		return nil, err
	}
	fresh := signer == nil
	if fresh {
		if signer, err = makeSigner(f.Name()); err != nil {
			return nil, err
		}
	}
	if err := keepPublic(f.Name(), publicOf(signer)); err != nil {
		return nil, err
	}
	if len(e.torn) > 0 {
		if err := f.Truncate(info.Size() - int64(len(e.torn))); err != nil {
			return nil, fmt.Errorf("cut off a torn last line: %w", err)
		}
		e.size -= int64(len(e.torn))
	}
	l := newLog(f, opts, signer, e)
	if err := l.takeUp(e, fresh); err != nil {
		return nil, err
	}
	return l, nil
}

// takeUp records how the log was found.
func (l *Log) takeUp(e end, fresh bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	note := func(op, detail string) error {
		_, err := l.append(Record{Kind: KindApp, Op: op, Object: "audit log", Detail: detail})
		return err
	}
	if e.seq == 0 {
		l.checkpoint(WhyBegin)
		l.flush()
	} else if e.why != WhyClose {
		l.checkpoint(WhyOpen)
		if l.flush(); l.failed() != nil {
			return l.failed()
		}
		if err := note("open", fmt.Sprintf("it was not closed: %d records stand after the last checkpoint, record %s", e.seq-e.signed, ID(e.signed))); err != nil {
			return err
		}
	}
	if e.seq == 0 && !fresh {
		if err := note("open", "there is a key and no record: the log was removed"); err != nil {
			return err
		}
	}
	if len(e.torn) > 0 {
		if err := note("repair", fmt.Sprintf("cut off a torn last line of %d bytes: %s", len(e.torn), e.torn)); err != nil {
			return err
		}
	}
	if l.size >= l.rotate {
		l.moveOnLocked()
	}
	return l.failed()
}

// end is how a log ends.
type end struct {
	seq  uint64   // of the last whole record, 0 if there is none
	hash [64]byte // of its line
	why  Why      // if it is a checkpoint
	torn []byte   // what follows it

	segment uint64 // the one that is written to
	size    int64  // of that, torn included
	signed  uint64 // number of the last checkpoint, 0 without one
	begin   uint64 // what that says
}

// endOf reads how the log ends whose last segment is f. Without a signer there may be
// no checkpoint in it.
func endOf(f *os.File, info os.FileInfo, signer ed25519.PrivateKey) (end, error) {
	full, err := segmentsOf(f.Name())
	if err != nil {
		return end{}, err
	}
	// A crash before the new file took its place: it has not moved on.
	if n := len(full); n > 0 {
		if last, err := os.Stat(full[n-1].path); err == nil && os.SameFile(last, info) {
			if err := os.Remove(full[n-1].path); err != nil {
				return end{}, err
			}
			full = full[:n-1]
		}
	}
	e, err := readEnd(f, info.Size(), len(full) > 0)
	if err != nil {
		return end{}, err
	}
	e.segment, e.begin, e.size = 1, 1, info.Size()
	paths := []string{f.Name()}
	if n := len(full); n > 0 {
		e.segment = full[n-1].n + 1
		paths = append(paths, full[n-1].path)
		if e.seq == 0 {
			before, err := endOfFull(full[n-1].path)
			if err != nil {
				return end{}, err
			}
			e.seq, e.hash, e.why = before.seq, before.hash, before.why
		}
	}
	for _, path := range paths {
		r, err := lastCheckpoint(path)
		if err != nil {
			return end{}, fmt.Errorf("%s: %w", path, err)
		}
		if r == nil {
			continue
		}
		key, err := signedBy(r)
		switch {
		case err != nil:
			return end{}, fmt.Errorf("%s: record %s is a checkpoint, and %w; see cofferdam audit verify", path, ID(r.Seq), err)
		case signer == nil:
			return end{}, fmt.Errorf("%s is gone, the key that the log is signed with (public key %v): put it back, or move the log away", keyPath(f.Name()), key)
		case key != publicOf(signer):
			return end{}, fmt.Errorf("it is signed with another key than the one beside it (public key %v): put that back, or move the log away", key)
		}
		e.signed, e.begin = r.Seq, r.Checkpoint.Begin
		break
	}
	return e, nil
}

// endOfFull is how a full segment ends.
func endOfFull(path string) (end, error) {
	f, err := openRegular(path)
	if err != nil {
		return end{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return end{}, err
	}
	e, err := readEnd(f, info.Size(), false)
	if err == nil && (e.seq == 0 || len(e.torn) > 0) {
		err = errors.New("its last line is torn")
	}
	if err != nil {
		return end{}, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

// readEnd reads the end of one file. later says that others were full before it.
func readEnd(f *os.File, size int64, later bool) (end, error) {
	tail := make([]byte, min(size, tailBytes))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return end{}, fmt.Errorf("read its end: %w", err)
	}
	cut := bytes.LastIndexByte(tail, '\n') + 1
	lines, torn := tail[:cut], tail[cut:]
	if len(lines) == 0 {
		// A crash during the very first write leaves the beginning of a
		// record. Whatever else stands there is somebody's file, not a log.
		if int64(len(torn)) < size || !beginsRecord(torn, later) {
			return end{}, errors.New("not an audit log: no line of it is a record")
		}
		return end{hash: noLine(), torn: torn}, nil
	}
	line := lines[bytes.LastIndexByte(lines[:len(lines)-1], '\n')+1:]
	r, err := decode(line)
	if err != nil {
		return end{}, fmt.Errorf("its last line is %w", err)
	}
	e := end{seq: r.Seq, hash: hashLine(line), torn: torn}
	if r.Checkpoint != nil {
		e.why = r.Checkpoint.Why
	}
	return e, nil
}

func beginsRecord(b []byte, later bool) bool {
	begin := `{"seq":1,"time":"`
	if later {
		begin = `{"seq":`
	}
	return strings.HasPrefix(string(b), begin[:min(len(begin), len(b))])
}

// ofCheckpoint stands in the line of a checkpoint and of no other record: in a string
// its quotes would be escaped.
var ofCheckpoint = []byte(`,"kind":"checkpoint",`)

// lastCheckpoint is the last checkpoint of a file, nil without one. It is read from the
// end on.
func lastCheckpoint(path string) (*Record, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	chunk := make([]byte, tailBytes)
	for to := info.Size(); to > 0; to -= tailBytes - MaxLine { // so that each line is whole in one
		from := max(0, to-tailBytes)
		b := chunk[:to-from]
		if _, err := f.ReadAt(b, from); err != nil {
			return nil, err
		}
		if to == info.Size() {
			b = b[:bytes.LastIndexByte(b, '\n')+1] // a torn line does not count
		}
		at := bytes.LastIndex(b, ofCheckpoint)
		if at < 0 {
			continue
		}
		start := bytes.LastIndexByte(b[:at], '\n') + 1
		length := bytes.IndexByte(b[start:], '\n') + 1
		if start == 0 && from > 0 { // it begins before this chunk, and ends within the next
			continue
		}
		r, err := decode(b[start : start+length])
		if err != nil {
			return nil, err
		}
		return &r, nil
	}
	return nil, nil
}
