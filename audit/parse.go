package audit

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// parse reads a line that is written as appendRecord writes it, and tells whether it is.
// It accepts what decode accepts, and takes a part of the time: whoever looks for
// something in a log, or verifies it, spends most of it here.
func parse(line []byte) (r Record, ok bool) {
	p := parser{rest: line}
	p.take(`{"seq":`)
	r.Seq = p.uint()
	p.take(`,"time":`)
	r.Time = p.time()
	p.take(`,"prev":`)
	r.Prev = p.string()
	p.take(`,"kind":`)
	r.Kind = Kind(p.string())
	p.take(`,"subject":`)
	r.Subject = p.string()
	p.take(`,"instance":`)
	r.Instance = p.string()
	p.some(`,"principal":`, &r.Principal)
	p.take(`,"op":`)
	r.Op = p.string()
	p.take(`,"object":`)
	r.Object = p.string()
	p.take(`,"verdict":`)
	r.Verdict = p.string()
	p.take(`,"rule":`)
	r.Rule = p.string()
	if p.has(`,"call":`) {
		r.Call = p.uint()
		p.bad = p.bad || r.Call == 0
	}
	p.some(`,"detail":`, &r.Detail)
	if p.has(`,"end":{"code":`) {
		r.End = p.end()
	}
	if p.has(`,"labels":{"subject":`) {
		r.Labels = p.labels()
	}
	p.some(`,"degraded":`, &r.Degraded)
	if p.has(`,"checkpoint":{"why":`) {
		r.Checkpoint = p.checkpoint()
	}
	p.take("}\n")
	return r, !p.bad && len(p.rest) == 0 && isHash(r.Prev)
}

// parser takes a line apart from its beginning on.
type parser struct {
	rest []byte
	bad  bool // something was not as it has to be
}

// has takes text if it stands there.
func (p *parser) has(text string) bool {
	if len(p.rest) < len(text) || string(p.rest[:len(text)]) != text {
		return false
	}
	p.rest = p.rest[len(text):]
	return true
}

func (p *parser) take(text string) { p.bad = p.bad || !p.has(text) }

// some takes a string that would not be there if it were empty.
func (p *parser) some(key string, s *string) {
	if p.has(key) {
		*s = p.string()
		p.bad = p.bad || *s == ""
	}
}

// digits takes a number that has one way to be written.
func (p *parser) digits() string {
	n := 0
	if len(p.rest) > 0 && p.rest[0] == '-' {
		n = 1
	}
	for n < len(p.rest) && p.rest[n] >= '0' && p.rest[n] <= '9' {
		n++
	}
	s := string(p.rest[:n])
	p.rest = p.rest[n:]
	if len(s) > 1 && s[0] == '0' || len(s) > 1 && s[:2] == "-0" {
		p.bad = true
	}
	return s
}

func (p *parser) uint() uint64 {
	n, err := strconv.ParseUint(p.digits(), 10, 64)
	p.bad = p.bad || err != nil
	return n
}

func (p *parser) int() int64 {
	n, err := strconv.ParseInt(p.digits(), 10, 64)
	p.bad = p.bad || err != nil
	return n
}

func (p *parser) time() time.Time {
	const size = len(timeLayout) + 2
	if len(p.rest) < size || p.rest[0] != '"' || p.rest[size-1] != '"' {
		p.bad = true // or a year that has not four digits, which decode knows to read
		return time.Time{}
	}
	text := p.rest[1 : size-1]
	p.rest = p.rest[size:]
	for i, c := range []byte("0000-00-00T00:00:00.000000Z") {
		if text[i] != c && (c != '0' || text[i] < '0' || text[i] > '9') {
			p.bad = true
			return time.Time{}
		}
	}
	n := func(from, to int) (n int) {
		for _, c := range text[from:to] {
			n = 10*n + int(c-'0')
		}
		return n
	}
	month, day, hour, minute, second := n(5, 7), n(8, 10), n(11, 13), n(14, 16), n(17, 19)
	t := time.Date(n(0, 4), time.Month(month), day, hour, minute, second, n(20, 26)*1000, time.UTC)
	// Of a time that there is not, Date makes another one.
	if int(t.Month()) != month || t.Day() != day || hour > 23 || minute > 59 || second > 59 {
		p.bad = true
	}
	return t
}

func (p *parser) string() string {
	if p.bad || len(p.rest) == 0 || p.rest[0] != '"' {
		p.bad = true
		return ""
	}
	for i, c := range p.rest[1:] {
		switch {
		case c == '"':
			s := string(p.rest[1 : i+1])
			p.bad = len(s) > MaxField
			p.rest = p.rest[i+2:]
			return s
		case c < ' ' || c > '~' || c == '\\':
			return p.escaped()
		}
	}
	p.bad = true
	return ""
}

// escaped is string for one that is more than itself in quotes.
func (p *parser) escaped() (s string) {
	end := 1
	for ; end < len(p.rest) && p.rest[end] != '"'; end++ {
		if p.rest[end] == '\\' {
			end++
		}
	}
	if end >= len(p.rest) {
		p.bad = true
		return ""
	}
	text := p.rest[:end+1]
	p.rest = p.rest[end+1:]
	if json.Unmarshal(text, &s) != nil || !bytes.Equal(appendString(nil, s), text) {
		p.bad = true
	}
	return s
}

func (p *parser) end() *End {
	var e End
	e.Code = int(p.int())
	p.some(`,"limit":`, &e.Limit)
	p.some(`,"key":`, &e.Key)
	p.take(`,"wall_ns":`)
	e.WallNS = p.int()
	p.take(`,"cpu_ns":`)
	e.CPUNS = p.int()
	p.take(`,"memory_bytes":`)
	e.MemoryBytes = p.int()
	p.take(`,"pids":`)
	e.Pids = int(p.int())
	p.take(`,"output_bytes":`)
	e.OutputBytes = p.int()
	p.take("}")
	return &e
}

func (p *parser) labels() *Labels {
	var l Labels
	l.Subject = p.string()
	p.some(`,"clearance":`, &l.Clearance)
	p.some(`,"object":`, &l.Object)
	p.some(`,"answer":`, &l.Answer)
	p.some(`,"out":`, &l.Out)
	p.some(`,"in":`, &l.In)
	p.take("}")
	return &l
}

func (p *parser) checkpoint() *Checkpoint {
	var c Checkpoint
	c.Why = Why(p.string())
	p.take(`,"segment":`)
	c.Segment = p.uint()
	p.take(`,"begin":`)
	c.Begin = p.uint()
	p.take(`,"after":`)
	c.After = p.uint()
	p.take(`,"key":`)
	c.Key = p.string()
	p.take(`,"sig":`)
	c.Sig = p.string()
	p.take("}")
	return &c
}
