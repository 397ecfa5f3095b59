package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// MaxDamages is how many places [Report.Damages] lists.
const MaxDamages = 100

// ErrDamaged says that the chain does not hold; ErrTorn that it holds up to a
// last line that was not finished, which is what a crash leaves behind.
var (
	ErrDamaged = errors.New("log is damaged")
	ErrTorn    = errors.New("last line is torn")
)

// Report is what [Verify] found.
type Report struct {
	Records uint64   `json:"records"`           // lines that are records
	First   uint64   `json:"first"`             // number of the first of them
	Last    uint64   `json:"last"`              // number of the last of them
	Head    string   `json:"head"`              // hash of the last record's line, zeros without one: compare it with one kept elsewhere
	Torn    int64    `json:"torn,omitempty"`    // bytes after the last line feed
	Damaged uint64   `json:"damaged,omitempty"` // places where the chain does not hold
	Damages []Damage `json:"damages,omitempty"` // the first MaxDamages of them
}

// Damage is a place where the chain does not hold.
type Damage struct {
	Line uint64 `json:"line"` // from 1
	Seq  uint64 `json:"seq"`  // of the record on that line, 0 if it is none
	What string `json:"what"`
}

func (d Damage) String() string {
	if d.Seq == 0 {
		return fmt.Sprintf("line %d: %s", d.Line, d.What)
	}
	return fmt.Sprintf("line %d: record %s: %s", d.Line, ID(d.Seq), d.What)
}

// Verify reads a whole log and checks that it is one unbroken chain from record
// 1 on. It holds one line of at most [MaxLine] bytes in memory.
//
// The error wraps [ErrDamaged] and names the first damage, or wraps [ErrTorn],
// or is that of the reader. The report is as far as Verify came in any case. No
// error does not mean that nothing is missing at the end: compare Head.
func Verify(r io.Reader) (Report, error) {
	v := verifier{hash: noLine()}
	v.report.Head = string(v.hash[:])
	err := eachLine(r, v.check)
	switch {
	case err != nil:
		return v.report, err
	case v.report.Damaged > 0:
		return v.report, fmt.Errorf("%w: %v", ErrDamaged, v.report.Damages[0])
	case v.report.Torn > 0:
		return v.report, fmt.Errorf("line %d: %w", v.lines+1, ErrTorn)
	}
	return v.report, nil
}

// verifier is what Verify knows between two lines.
type verifier struct {
	report Report
	lines  uint64
	hash   [64]byte // of the last line
	lost   bool     // the last line was no record: what came before is not known
}

func (v *verifier) check(l line) error {
	if !l.whole {
		v.report.Torn = l.size
		return nil
	}
	v.lines++
	before := v.hash
	v.hash = hashLine(l.text)
	r, err := l.record()
	if err != nil {
		v.damage(0, err.Error())
		v.lost = true
		return nil
	}
	switch last := v.report.Last; {
	case r.Seq <= last:
		v.damage(r.Seq, fmt.Sprintf("stands after record %s: moved or inserted", ID(last)))
	case v.lost: // and that is told already
	case r.Seq > last+1:
		v.damage(r.Seq, fmt.Sprintf("%d records before it are missing", r.Seq-last-1))
	case r.Prev != string(before[:]):
		v.damage(r.Seq, "does not carry the hash of the line before: one of the two was changed")
	}
	v.lost = false
	if v.report.Records++; v.report.Records == 1 {
		v.report.First = r.Seq
	}
	v.report.Last = r.Seq
	v.report.Head = string(v.hash[:])
	return nil
}

func (v *verifier) damage(seq uint64, what string) {
	if v.report.Damaged++; v.report.Damaged <= MaxDamages {
		v.report.Damages = append(v.report.Damages, Damage{Line: v.lines, Seq: seq, What: what})
	}
}

// Scan calls f for every record, in the order of the file, and stops at the
// first error of f, which it returns as it is. A line that is no record is an
// error that wraps [ErrDamaged]; a torn last line is passed over, for the log
// may be in use. The chain is not checked.
func Scan(r io.Reader, f func(Record) error) error {
	n := 0
	return eachLine(r, func(l line) error {
		if !l.whole {
			return nil
		}
		n++
		record, err := l.record()
		if err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrDamaged, n, err)
		}
		return f(record)
	})
}

// Find returns the record with number seq, or [ErrNotFound]. Like [Scan], it
// does not check the chain.
func Find(r io.Reader, seq uint64) (Record, error) {
	var found Record
	err := Scan(r, func(r Record) error {
		if r.Seq != seq {
			return nil
		}
		found = r
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return found, nil
	case err != nil:
		return Record{}, err
	}
	return Record{}, fmt.Errorf("record %s: %w", ID(seq), ErrNotFound)
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
