package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"cofferdam/quote"
)

// timeLayout has a fixed width, so that lines sort and columns stand.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// appendRecord appends the one way to write r, line feed included, with prev
// (64 digits of hex) in place of r.Prev, which would have to be a string of its
// own for every record. It is written by hand because it runs for every call: encoding/json takes several
// times as long and allocates.
func appendRecord(dst []byte, r *Record, prev []byte) []byte {
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendUint(dst, r.Seq, 10)
	dst = append(dst, `,"time":"`...)
	dst = appendTime(dst, r.Time)
	dst = append(dst, `","prev":"`...)
	dst = append(dst, prev...)
	dst = append(dst, `","kind":`...)
	dst = appendString(dst, string(r.Kind))
	dst = append(dst, `,"subject":`...)
	dst = appendString(dst, r.Subject)
	dst = append(dst, `,"instance":`...)
	dst = appendString(dst, r.Instance)
	if r.Principal != "" {
		dst = append(dst, `,"principal":`...)
		dst = appendString(dst, r.Principal)
	}
	dst = append(dst, `,"op":`...)
	dst = appendString(dst, r.Op)
	dst = append(dst, `,"object":`...)
	dst = appendString(dst, r.Object)
	dst = append(dst, `,"verdict":`...)
	dst = appendString(dst, r.Verdict)
	dst = append(dst, `,"rule":`...)
	dst = appendString(dst, r.Rule)
	if r.Call != 0 {
		dst = append(dst, `,"call":`...)
		dst = strconv.AppendUint(dst, r.Call, 10)
	}
	if r.Detail != "" {
		dst = append(dst, `,"detail":`...)
		dst = appendString(dst, r.Detail)
	}
	if r.End != nil {
		dst = appendEnd(dst, r.End)
	}
	if r.Labels != nil {
		dst = appendLabels(dst, r.Labels)
	}
	if r.Degraded != "" {
		dst = append(dst, `,"degraded":`...)
		dst = appendString(dst, r.Degraded)
	}
	if r.Checkpoint != nil {
		dst = appendCheckpoint(dst, r.Checkpoint)
	}
	return append(dst, "}\n"...)
}

func appendEnd(dst []byte, e *End) []byte {
	number := func(key string, n int64) {
		dst = append(dst, key...)
		dst = strconv.AppendInt(dst, n, 10)
	}
	number(`,"end":{"code":`, int64(e.Code))
	if e.Limit != "" {
		dst = append(dst, `,"limit":`...)
		dst = appendString(dst, e.Limit)
	}
	if e.Key != "" {
		dst = append(dst, `,"key":`...)
		dst = appendString(dst, e.Key)
	}
	number(`,"wall_ns":`, e.WallNS)
	number(`,"cpu_ns":`, e.CPUNS)
	number(`,"memory_bytes":`, e.MemoryBytes)
	number(`,"pids":`, int64(e.Pids))
	number(`,"output_bytes":`, e.OutputBytes)
	return append(dst, '}')
}

func appendLabels(dst []byte, l *Labels) []byte {
	dst = append(dst, `,"labels":{"subject":`...)
	dst = appendString(dst, l.Subject)
	for _, f := range []struct{ key, text string }{
		{`,"clearance":`, l.Clearance}, {`,"object":`, l.Object}, {`,"answer":`, l.Answer}, {`,"out":`, l.Out}, {`,"in":`, l.In},
	} {
		if f.text != "" {
			dst = append(dst, f.key...)
			dst = appendString(dst, f.text)
		}
	}
	return append(dst, '}')
}

func appendCheckpoint(dst []byte, c *Checkpoint) []byte {
	dst = append(dst, `,"checkpoint":{"why":`...)
	dst = appendString(dst, string(c.Why))
	dst = append(dst, `,"segment":`...)
	dst = strconv.AppendUint(dst, c.Segment, 10)
	dst = append(dst, `,"begin":`...)
	dst = strconv.AppendUint(dst, c.Begin, 10)
	dst = append(dst, `,"after":`...)
	dst = strconv.AppendUint(dst, c.After, 10)
	dst = append(dst, `,"key":`...)
	dst = appendString(dst, c.Key)
	dst = append(dst, `,"sig":`...)
	dst = appendString(dst, c.Sig)
	return append(dst, '}')
}

func appendTime(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, timeLayout)
}

// appendString appends s in quotes, cut to MaxField bytes.
func appendString(dst []byte, s string) []byte { return quote.AppendMost(dst, s, MaxField) }

// decode reads one line, line feed included. It accepts what appendRecord
// writes and nothing else, so that no line has two meanings (duplicate keys,
// keys that differ in case, white space).
func decode(line []byte) (Record, error) {
	r, ok := parse(line)
	if !ok {
		return decodeSlowly(line)
	}
	return r, ofItsKind(&r)
}

// ofItsKind tells what a record may not have, being of another kind.
func ofItsKind(r *Record) error {
	if (r.Checkpoint != nil) != (r.Kind == KindCheckpoint) {
		return errors.New("not a record: a checkpoint of another kind")
	}
	return nil
}

// decodeSlowly is decode by another way, which says what is wrong.
func decodeSlowly(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("not a record: %w", err)
	}
	if !isHash(r.Prev) || !bytes.Equal(appendRecord(make([]byte, 0, len(line)), &r, []byte(r.Prev)), line) {
		return Record{}, errors.New("not a record: not written the way the log writes it")
	}
	return r, ofItsKind(&r)
}

// isHash tells whether s is a SHA-256 the way hashLine writes it.
func isHash(s string) bool {
	all := true
	for i := range len(s) {
		all = all && inHash[s[i]]
	}
	return all && len(s) == 64
}

var inHash = func() (in [256]bool) {
	for _, c := range "0123456789abcdef" {
		in[c] = true
	}
	return in
}()
