package protocol

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Object is a JSON object. Its fields have different names and keep their order.
type Object []Field

// Field is one of an object. Its value is nil, a bool, float64, string, []any
// or Object; for [Encode] also an int, []string or []Object.
type Field struct {
	Name  string
	Value any
}

// Get returns the field of that name, and whether there is one.
func (o Object) Get(name string) (any, bool) {
	for _, f := range o {
		if f.Name == name {
			return f.Value, true
		}
	}
	return nil, false
}

// Text returns the field of that name if it is a string, and "" otherwise.
func (o Object) Text(name string) string {
	v, _ := o.Get(name)
	s, _ := v.(string)
	return s
}

// Bounds are how much a value may consist of. A zero field is its default.
type Bounds struct {
	Depth  int // of lists and objects in each other; 32
	Values int // in all; 100000
}

func (b Bounds) orDefault() Bounds {
	if b.Depth == 0 {
		b.Depth = 32
	}
	if b.Values == 0 {
		b.Values = 100000
	}
	return b
}

// ParseJSON reads one value of any kind, and nothing after it. It is strict: no
// comments, no trailing commas, no raw control characters in strings, and what
// is not UTF-8 is refused. Of fields with the same name the last one counts.
// Numbers become doubles; one beyond them is refused.
func ParseJSON(text string, bounds Bounds) (any, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("not UTF-8")
	}
	p := &jsonParser{text: text, bounds: bounds.orDefault()}
	v := p.value(0)
	p.space()
	if p.err == nil && p.at < len(text) {
		p.fail("the end")
	}
	if p.err != nil {
		return nil, p.err
	}
	return v, nil
}

// jsonParser goes through text once. After an error its functions return what
// they have, and nobody looks at that.
type jsonParser struct {
	text   string
	at     int
	values int
	bounds Bounds
	err    error
}

func (p *jsonParser) fail(want string) {
	if p.err == nil {
		p.err = fmt.Errorf("malformed JSON at byte %d: want %s", p.at, want)
	}
	p.at = len(p.text)
}

func (p *jsonParser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\n\r", p.text[p.at]) >= 0 {
		p.at++
	}
}

// peek is the next byte, and 0 at the end.
func (p *jsonParser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// took goes past the byte if it comes next.
func (p *jsonParser) took(c byte) bool {
	if p.peek() != c || p.at == len(p.text) {
		return false
	}
	p.at++
	return true
}

func (p *jsonParser) value(depth int) any {
	p.space()
	if p.values++; p.values > p.bounds.Values {
		p.fail(fmt.Sprintf("at most %d values", p.bounds.Values))
		return nil
	}
	switch c := p.peek(); {
	case c == '"':
		return p.string()
	case c == '{' || c == '[':
		if depth == p.bounds.Depth {
			p.fail(fmt.Sprintf("at most %d levels", p.bounds.Depth))
			return nil
		}
		p.at++
		if c == '{' {
			return p.object(depth + 1)
		}
		return p.list(depth + 1)
	case c == '-' || '0' <= c && c <= '9':
		return p.number()
	}
	switch {
	case p.tookWord("true"):
		return true
	case p.tookWord("false"):
		return false
	case !p.tookWord("null"):
		p.fail("a value")
	}
	return nil
}

func (p *jsonParser) tookWord(word string) bool {
	if !strings.HasPrefix(p.text[p.at:], word) {
		return false
	}
	p.at += len(word)
	return true
}

func (p *jsonParser) list(depth int) []any {
	list := []any{}
	p.space()
	if p.took(']') {
		return list
	}
	for p.err == nil {
		list = append(list, p.value(depth))
		p.space()
		if p.took(']') {
			return list
		}
		if !p.took(',') {
			p.fail("] or a comma")
		}
	}
	return list
}

func (p *jsonParser) object(depth int) Object {
	o := Object{}
	p.space()
	if p.took('}') {
		return o
	}
	where := map[string]int{}
	for p.err == nil {
		p.space()
		if p.peek() != '"' {
			p.fail("a name")
			break
		}
		name := p.string()
		p.space()
		if !p.took(':') {
			p.fail("a colon")
			break
		}
		v := p.value(depth)
		if i, ok := where[name]; ok {
			o[i].Value = v
		} else {
			where[name] = len(o)
			o = append(o, Field{name, v})
		}
		p.space()
		if p.took('}') {
			return o
		}
		if !p.took(',') {
			p.fail("} or a comma")
		}
	}
	return o
}

func (p *jsonParser) number() float64 {
	start := p.at
	p.took('-')
	if !p.took('0') && !p.digits() {
		p.fail("a digit")
		return 0
	}
	if p.took('.') && !p.digits() {
		p.fail("a digit")
		return 0
	}
	if p.took('e') || p.took('E') {
		_ = p.took('+') || p.took('-')
		if !p.digits() {
			p.fail("a digit")
			return 0
		}
	}
	n, err := strconv.ParseFloat(p.text[start:p.at], 64)
	if err != nil {
		p.fail("a number in the range of doubles")
	}
	return n
}

func (p *jsonParser) digits() bool {
	start := p.at
	for '0' <= p.peek() && p.peek() <= '9' {
		p.at++
	}
	return p.at > start
}

var unescaped = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (p *jsonParser) string() string {
	p.at++ // the quote
	start := p.at
	for p.at < len(p.text) && p.text[p.at] >= ' ' && p.text[p.at] != '"' && p.text[p.at] != '\\' {
		p.at++
	}
	if p.at < len(p.text) && p.text[p.at] == '"' { // most have no escapes, and are part of the text
		p.at++
		return p.text[start : p.at-1]
	}
	s := []byte(p.text[start:p.at])
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch {
		case c < ' ':
			p.fail("no control characters")
			return ""
		case c == '"':
			p.at++
			return string(s)
		case c != '\\':
			s = append(s, c)
			p.at++
			continue
		}
		p.at++
		if p.took('u') {
			s = utf8.AppendRune(s, p.escapedRune())
		} else if c, ok := unescaped[p.peek()]; ok {
			s = append(s, c)
			p.at++
		} else {
			p.fail("an escape")
			return ""
		}
	}
	p.fail("a quote")
	return ""
}

// escapedRune reads what follows \u. Half of a pair by itself is no character.
func (p *jsonParser) escapedRune() rune {
	r := p.hex4()
	if utf16.IsSurrogate(r) && strings.HasPrefix(p.text[p.at:], `\u`) {
		back := p.at
		p.at += len(`\u`)
		if pair := utf16.DecodeRune(r, p.hex4()); pair != utf8.RuneError {
			return pair
		}
		if p.err == nil {
			p.at = back // the second is read by itself
		}
	}
	return r // AppendRune makes U+FFFD of half a pair
}

func (p *jsonParser) hex4() rune {
	if p.at+4 > len(p.text) {
		p.fail("four hex digits")
		return 0
	}
	var r rune
	for _, c := range []byte(p.text[p.at : p.at+4]) {
		n := strings.IndexByte("0123456789abcdef", c|0x20)
		if n < 0 || c < '0' {
			p.fail("four hex digits")
			return 0
		}
		r = r<<4 | rune(n)
	}
	p.at += 4
	return r
}

// Encode appends a value to dst, as the server prints it: compact, integral
// doubles without a fraction, controls and U+007F to U+009F escaped, and all
// other characters as they are. Bytes that are no character become U+FFFD. [Unit]
// is nothing at all. It panics if v is none of the types that [Field] names.
func Encode(dst []byte, v any) []byte {
	switch v := v.(type) {
	case Unit:
		return dst
	case YXML:
		return append(dst, v...)
	case nil:
		return append(dst, "null"...)
	case bool:
		return strconv.AppendBool(dst, v)
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case float64:
		return appendNumber(dst, v)
	case string:
		return appendString(dst, v)
	case []any:
		return appendList(dst, v)
	case []string:
		return appendList(dst, v)
	case []Object:
		return appendList(dst, v)
	case Object:
		dst = append(dst, '{')
		for i, f := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, f.Name), ':')
			dst = Encode(dst, f.Value)
		}
		return append(dst, '}')
	}
	panic(fmt.Sprintf("protocol: %T is no JSON", v))
}

func appendList[T any](dst []byte, list []T) []byte {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = Encode(dst, v)
	}
	return append(dst, ']')
}

func appendNumber(dst []byte, n float64) []byte {
	switch {
	case math.IsNaN(n) || math.IsInf(n, 0): // JSON has none
		return append(dst, "null"...)
	case n == math.Trunc(n) && math.Abs(n) < 1<<53:
		return strconv.AppendInt(dst, int64(n), 10)
	}
	return strconv.AppendFloat(dst, n, 'g', -1, 64)
}

var escaped = map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}

func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	plain := 0 // from here on nothing needed an escape
	for i, r := range s {
		if ' ' <= r && r < 0x7f && r != '"' && r != '\\' {
			continue
		}
		size := utf8.RuneLen(r)
		if r == utf8.RuneError {
			_, size = utf8.DecodeRuneInString(s[i:]) // 1 if it stands for a byte that is no character
		}
		escape, ok := escaped[r]
		switch {
		case ok:
		case r < ' ' || 0x7f <= r && r <= 0x9f:
			escape = fmt.Sprintf(`\u%04x`, r)
		case r == utf8.RuneError && size == 1:
			escape = "\ufffd"
		default:
			continue
		}
		dst = append(append(dst, s[plain:i]...), escape...)
		plain = i + size
	}
	return append(append(dst, s[plain:]...), '"')
}
