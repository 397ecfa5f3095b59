package supervisor

import (
	"bytes"
	"time"
	"unicode/utf8"
)

// OurStream is the stream of lines that no program has printed: what the supervisor has to
// say of an instance.
const OurStream = "cofferdam"

// Line is one line that an instance printed, valid UTF-8, without its end.
type Line struct {
	Time     time.Time `json:"time"`
	Service  string    `json:"service"`
	Instance string    `json:"instance"`
	Stream   string    `json:"stream"`
	Text     string    `json:"text"`
}

// origin is where a line comes from.
type origin struct{ service, instance, stream string }

func (o origin) line(at time.Time, text []byte) Line {
	return Line{at.UTC(), o.service, o.instance, o.stream, string(bytes.ToValidUTF8(text, []byte("�")))}
}

// appendJSON appends what [encoding/json] makes of the line, without memory of its own: a gateway prints one
// for each request.
func (o origin) appendJSON(dst []byte, at time.Time, text []byte) []byte {
	dst = append(at.UTC().AppendFormat(append(dst, `{"time":"`...), time.RFC3339Nano), `","service":`...)
	dst = appendString(dst, []byte(o.service))
	dst = appendString(append(dst, `,"instance":`...), []byte(o.instance))
	dst = appendString(append(dst, `,"stream":`...), []byte(o.stream))
	dst = appendString(append(dst, `,"text":`...), text)
	return append(dst, '}')
}

// appendString appends text as a string of JSON (RFC 8259 section 7), with U+FFFD for each run of bytes that are no UTF-8.
func appendString(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0 // what follows is not appended yet
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(append(dst, text[from:i]...), '\\')
			from = i
			i++
		case c < ' ':
			dst = append(append(dst, text[from:i]...), '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
			from = i
		case c < utf8.RuneSelf:
			i++
		default:
			r, size := utf8.DecodeRune(text[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				break
			}
			dst = append(append(dst, text[from:i]...), "�"...)
			for i < len(text) {
				if r, size := utf8.DecodeRune(text[i:]); r != utf8.RuneError || size > 1 {
					break
				}
				i++
			}
			from = i
		}
	}
	return append(append(dst, text[from:]...), '"')
}
