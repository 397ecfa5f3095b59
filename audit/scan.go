package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// scan calls f for every record of one file. A torn last line is passed over if the
// file may be in use.
func scan(r io.Reader, used bool, f func(Record) error) error {
	n := 0
	return eachLine(r, func(l line) error {
		n++
		if !l.whole && used {
			return nil
		}
		record, err := l.record()
		if err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrDamaged, n, err)
		}
		return f(record)
	})
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
