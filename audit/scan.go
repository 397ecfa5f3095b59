package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// scan calls f for every record of one file, of which r is what follows the first from bytes. A torn
// last line is passed over if the file may be in use.
func scan(r io.Reader, from int64, used bool, f func(Record) error) error {
	n := 0
	at := from
	return eachLine(r, func(l line) error {
		n++
		start := at
		at += l.size
		if !l.whole && used {
			return nil
		}
		record, err := l.record()
		switch {
		case err == nil:
			return f(record)
		case from > 0:
			return fmt.Errorf("%w: at byte %d: %w", ErrDamaged, start, err)
		}
		return fmt.Errorf("%w: line %d: %w", ErrDamaged, n, err)
	})
}

// skipIn finds where in a file what is wanted begins, or a little before: at the start of the
// last line that it has found of which before is true. Of a damaged file it passes over less.
func skipIn(f *os.File, before func(Record) bool) (from int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	chunk := make([]byte, 2*MaxLine)
	for to := info.Size(); to-from > MaxLine; {
		middle := from + (to-from)/2
		n, err := f.ReadAt(chunk, middle)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		begin := bytes.IndexByte(chunk[:n], '\n') + 1
		length := bytes.IndexByte(chunk[begin:n], '\n') + 1
		if begin == 0 || length == 0 || middle+int64(begin) >= to {
			to = middle // no whole line begins after it
			continue
		}
		r, err := decode(chunk[begin : begin+length])
		if err != nil {
			return from, nil // it is found again by who reads on
		}
		if before(r) {
			from = middle + int64(begin)
		} else {
			to = middle
		}
	}
	return from, nil
}

// scanBack is scan from the end of a file to its beginning.
func scanBack(f *os.File, used bool, each func(Record) error) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	to := info.Size()
	whole := to == 0
	chunk := make([]byte, 2*MaxLine)
	for to > 0 {
		from := max(0, to-int64(len(chunk)))
		b := chunk[:to-from]
		if _, err := f.ReadAt(b, from); err != nil {
			return err
		}
		if !whole { // the end of the file
			whole = true
			if end := bytes.LastIndexByte(b, '\n') + 1; end < len(b) && used {
				b, to = b[:end], from+int64(end)
				if end == 0 && from == 0 {
					return nil
				}
			}
		}
		done := 0
		for len(b) > 0 {
			start := bytes.LastIndexByte(b[:len(b)-1], '\n') + 1
			if start == 0 && from > 0 {
				break // it begins before this chunk
			}
			r, err := decode(b[start:])
			if err != nil {
				return fmt.Errorf("%w: at byte %d: %w", ErrDamaged, from+int64(start), err)
			}
			if err := each(r); err != nil {
				return err
			}
			done += len(b) - start
			b = b[:start]
		}
		if done == 0 {
			return fmt.Errorf("%w: before byte %d: not a record: a line of more than %d bytes", ErrDamaged, to, MaxLine)
		}
		to -= int64(done)
	}
	return nil
}

// errFound ends a scan.
var errFound = errors.New("found")

// line is one line of the file.
type line struct {
	text  []byte // line feed included; at most MaxLine bytes of it; valid during the call
	size  int64  // of all of it
	whole bool   // it ends in a line feed
}

func (l line) record() (Record, error) {
	if l.size > MaxLine {
		return Record{}, fmt.Errorf("not a record: %d bytes long, the most is %d", l.size, MaxLine)
	}
	return decode(l.text)
}

// eachLine calls f for every line and stops at the first error.
func eachLine(r io.Reader, f func(line) error) error {
	in := bufio.NewReaderSize(r, MaxLine)
	for n := uint64(1); ; n++ {
		text, err := in.ReadSlice('\n')
		l := line{text: text, size: int64(len(text))}
		for errors.Is(err, bufio.ErrBufferFull) {
			var more []byte
			more, err = in.ReadSlice('\n') // overwrites text, which is of no use any more
			l.size += int64(len(more))
		}
		l.whole = err == nil
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if l.size > 0 {
			if ferr := f(l); ferr != nil {
				return ferr
			}
		}
		if err != nil {
			return nil
		}
	}
}
