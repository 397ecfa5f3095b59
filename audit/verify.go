package audit

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxDamages is how many places [Report.Damages] and [Report.Unclosed] list.
const MaxDamages = 100

// Verdict is what [Segments.Verify] comes to: the first that applies, in this order.
type Verdict string

// The verdicts.
const (
	WrongKey  Verdict = "wrong-key" // a checkpoint was signed, with a key that is none of those given
	Damaged   Verdict = "damaged"   // what is there is not what was written
	Truncated Verdict = "truncated" // it is, as far as it goes, and the end is missing, or may be: the log was not closed
	Unsigned  Verdict = "unsigned"  // it is up to a checkpoint, and nothing vouches for the records after that
	Complete  Verdict = "complete"  // all is there up to the end, and vouched for
)

// ErrDamaged says that a line is no record.
var ErrDamaged = errors.New("log is damaged")

// Head is how a log ends, or ended: the number of a record, and the hash of its line in
// hex. Noted elsewhere, it is an anchor.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// String is HASH:SEQ.
func (h Head) String() string { return h.Hash + ":" + strconv.FormatUint(h.Seq, 10) }

// ParseHead is the inverse of String.
func ParseHead(s string) (Head, error) {
	hash, count, ok := strings.Cut(s, ":")
	seq, err := strconv.ParseUint(count, 10, 64)
	if !ok || err != nil || seq == 0 || !isHash(hash) || strconv.FormatUint(seq, 10) != count {
		return Head{}, fmt.Errorf("anchor %q: not 64 digits of hex, a colon and the count of records, as audit verify prints it", s)
	}
	return Head{seq, hash}, nil
}

// Check is what a log is held against.
type Check struct {
	Keys   []Key // who may have signed; without any, whoever signed the first checkpoint
	Anchor *Head // noted elsewhere: up to there nothing may have changed
	Live   *Head // what the running application said just now: there it ended
}

// Report is what [Segments.Verify] found.
type Report struct {
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why"` // one sentence

	Segments    int        `json:"segments"`            // files
	Records     uint64     `json:"records"`             // lines that are records
	First       uint64     `json:"first"`               // number of the first of them
	Last        uint64     `json:"last"`                // number of the last of them
	Head        string     `json:"head"`                // hash of the last record's line, zeros without one
	Dropped     uint64     `json:"dropped,omitempty"`   // records that rotation deleted, and a checkpoint says so
	Torn        int64      `json:"torn,omitempty"`      // bytes after the last line feed
	Checkpoints uint64     `json:"checkpoints"`         // those whose signature holds
	Signed      uint64     `json:"signed"`              // number of the last of them
	SignedAt    *time.Time `json:"signed_at,omitempty"` // when that was written, by the clock of the host
	Closed      bool       `json:"closed"`              // the last record is the checkpoint of a close
	Unsigned    uint64     `json:"unsigned"`            // records after the last checkpoint
	Keys        []Key      `json:"keys"`                // that were held against it, or that of the first checkpoint
	OwnKey      bool       `json:"own_key,omitempty"`   // none was given: the log's own word

	Damaged  uint64   `json:"damaged,omitempty"`  // places
	Damages  []Damage `json:"damages,omitempty"`  // the first MaxDamages of them
	Unclosed []Gap    `json:"unclosed,omitempty"` // where the log was opened that had not been closed, the last MaxDamages
}

// Damage is a place where something is not as it was written.
type Damage struct {
	File string `json:"file,omitempty"`
	Line uint64 `json:"line,omitempty"` // from 1, 0 for the log as a whole
	Seq  uint64 `json:"seq"`            // of the record on that line, 0 if it is none
	What string `json:"what"`
}

func (d Damage) String() string {
	var s string
	if d.Line > 0 {
		s = fmt.Sprintf("line %d: ", d.Line)
	}
	if d.File != "" {
		s = d.File + " " + s
	}
	if d.Seq != 0 {
		s += fmt.Sprintf("record %s: ", ID(d.Seq))
	}
	return s + d.What
}

// Gap is a place where the log was opened that had not been closed: by a kill of the
// application, a crash, or because its end was cut off.
type Gap struct {
	After   uint64 `json:"after"`   // number of the checkpoint before, 0 for none
	Records uint64 `json:"records"` // that stood after it: nobody vouches for them, nor that they were all
}

// Verify reads all of the log and holds it against c. It keeps one line of at most
// [MaxLine] bytes in memory. The error is that of a file that cannot be read.
func (s *Segments) Verify(c Check) (Report, error) {
	v := newVerifier(c)
	err := s.each(func(path string, r io.Reader, last bool) error {
		v.report.Segments++
		v.file, v.lines = path, 0
		if err := eachLine(r, v.check); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if v.torn > 0 && !last {
			v.damage(0, fmt.Sprintf("the last line of a full segment is torn: %d bytes", v.torn))
			v.torn, v.lost = 0, true
		}
		return nil
	})
	if err != nil {
		return v.report, err
	}
	return v.conclude(s.last == nil), nil
}

// verifier is what Verify knows between two lines.
type verifier struct {
	Check
	report Report

	file  string
	lines uint64
	hash  [64]byte // of the last line
	lost  bool     // the last line was no record: what came before is not known
	torn  int64    // bytes of a last line that has no end

	end        Why    // of the last record if it is a checkpoint that holds, "" if it is none
	began      uint64 // the number that the first record may have at most
	checkpoint uint64 // the number of the last one, whether it holds or not
	stranger   uint64 // the number of the first that another key signed
	wide       *Gap   // the first that no crash explains
	anchored   bool   // the anchor was found
	alive      bool   // what the running application said was
}

func newVerifier(c Check) *verifier {
	zeros := noLine()
	v := &verifier{Check: c, hash: zeros, began: 1}
	v.report.Head = string(zeros[:])
	v.report.Keys = append([]Key{}, c.Keys...)
	v.report.OwnKey = len(c.Keys) == 0
	return v
}

func (v *verifier) check(l line) error {
	if !l.whole {
		v.torn = l.size
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
		v.damage(r.Seq, fmt.Sprintf("stands after record %s: moved, inserted or of another log", ID(last)))
	case v.lost: // and that is told already
	case v.report.Records == 0 && r.Seq > 1: // conclude asks whether that may be
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
	v.held(&r, v.Anchor, &v.anchored, "noted")
	v.held(&r, v.Live, &v.alive, "named by the running application")
	v.end = ""
	v.report.Unsigned++
	if r.Checkpoint != nil {
		v.checked(&r)
	}
	return nil
}

// held holds r against a head that has its number.
func (v *verifier) held(r *Record, h *Head, found *bool, how string) {
	if h == nil || h.Seq != r.Seq {
		return
	}
	if h.Hash == v.report.Head {
		*found = true
		return
	}
	v.damage(r.Seq, fmt.Sprintf("is not the one that was %s: it or something before it was changed, and the chain made anew", how))
}

// checked holds a checkpoint against the keys and the one before.
func (v *verifier) checked(r *Record) {
	c := r.Checkpoint
	before := v.checkpoint
	v.checkpoint = r.Seq
	key, err := signedBy(r)
	if err != nil {
		v.damage(r.Seq, fmt.Sprintf("is a checkpoint, and %v: it or something before it was changed, and the chain made anew", err))
		return
	}
	if v.report.OwnKey && len(v.report.Keys) == 0 {
		v.report.Keys = []Key{key}
	}
	if !slices.Contains(v.report.Keys, key) {
		if v.stranger == 0 {
			v.stranger = r.Seq
		}
		return
	}
	if c.After != before && (c.After >= v.report.First || before != 0) {
		v.damage(r.Seq, fmt.Sprintf("says that the checkpoint before it is record %s, and here that is %s: one is missing or was inserted", ID(c.After), ID(before)))
	}
	if c.Why == WhyOpen && (v.Anchor == nil || r.Seq > v.Anchor.Seq) {
		g := Gap{After: c.After, Records: r.Seq - 1 - c.After}
		// Records that never had a checkpoint, or more than there can be between two.
		if v.wide == nil && (g.Records > MaxEvery || g.After == 0 && g.Records > 0) {
			v.wide = &g
		}
		v.report.Unclosed = append(v.report.Unclosed, g)
		if n := len(v.report.Unclosed); n > MaxDamages {
			v.report.Unclosed = slices.Delete(v.report.Unclosed, 0, n-MaxDamages)
		}
	}
	v.began = max(v.began, c.Begin)
	v.report.Checkpoints++
	v.report.Signed = r.Seq
	v.report.SignedAt = &r.Time
	v.report.Unsigned = 0
	v.end = c.Why
}

func (v *verifier) damage(seq uint64, what string) {
	if v.report.Damaged++; v.report.Damaged <= MaxDamages {
		v.report.Damages = append(v.report.Damages, Damage{File: v.file, Line: v.lines, Seq: seq, What: what})
	}
}

// conclude comes to a verdict when all has been read. gone says that the file that is
// written to is missing.
func (v *verifier) conclude(gone bool) Report {
	r := &v.report
	r.Torn, r.Closed = v.torn, v.end == WhyClose
	if r.First > v.began {
		r.Damaged++
		what := fmt.Sprintf("%d records before the first one are missing, and no checkpoint says that rotation deleted them", r.First-v.began)
		r.Damages = slices.Insert(r.Damages, 0, Damage{Seq: r.First, What: what})
	} else if r.First > 1 {
		r.Dropped = r.First - 1
	}
	r.Verdict, r.Why = v.verdict(gone)
	return *r
}

func (v *verifier) verdict(gone bool) (Verdict, string) {
	r := &v.report
	switch {
	case v.stranger != 0:
		return WrongKey, fmt.Sprintf("record %s is a checkpoint that another key signed", ID(v.stranger))
	case r.Damaged > 0:
		return Damaged, r.Damages[0].String()
	case r.Records == 0:
		return Truncated, "there is no record in it"
	}
	for _, h := range []struct {
		*Head
		how string
	}{{v.Anchor, "was noted"}, {v.Live, "is the last one of the running application"}} {
		switch {
		case h.Head == nil:
		case h.Seq > r.Last:
			return Truncated, fmt.Sprintf("it ends with record %s, and record %s %s: %d records are missing", ID(r.Last), ID(h.Seq), h.how, h.Seq-r.Last)
		case h.Seq < r.First:
			return Truncated, fmt.Sprintf("record %s %s, and rotation deleted it: note a later one", ID(h.Seq), h.how)
		}
	}
	if v.wide != nil {
		return Unsigned, fmt.Sprintf("%d records after record %s had no checkpoint when the log was opened: more than a crash leaves", v.wide.Records, ID(v.wide.After))
	}
	switch {
	case v.alive, v.anchored && v.Anchor.Seq == r.Last && r.Torn == 0:
		return Complete, "all is there up to the end that was " + v.vouched()
	case r.Torn > 0:
		return Truncated, fmt.Sprintf("the last line is torn, %d bytes of it are there: the application was killed, or the rest was cut off", r.Torn)
	case v.end == WhyRotate:
		return Truncated, "it goes on in another segment, which is missing or empty"
	case gone:
		return Truncated, "the segment that is written to is missing"
	case r.Unsigned > 0 && r.Signed == 0:
		return Unsigned, "there is no checkpoint in it"
	case r.Unsigned > 0:
		return Unsigned, fmt.Sprintf("%d records stand after the last checkpoint, record %s: the application was killed, or the end was changed", r.Unsigned, ID(r.Signed))
	case !r.Closed:
		return Truncated, "it ends with a checkpoint and was not closed: the application was killed, or the rest was cut off"
	}
	return Complete, "all is there up to the end, where it was closed"
}

func (v *verifier) vouched() string {
	if v.alive {
		return "named by the running application"
	}
	return "noted"
}
