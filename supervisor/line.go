package supervisor

import (
	"time"
	"unicode/utf8"

	"cofferdam/quote"
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
	return Line{at.UTC(), o.service, o.instance, o.stream, valid(string(text))}
}

// valid is text with U+FFFD for each byte that is not UTF-8.
func valid(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return string([]rune(text))
}

// appendJSON appends what is read as the line again, without memory of its own: a gateway prints one for each request.
func (o origin) appendJSON(dst []byte, at time.Time, text []byte) []byte {
	dst = append(at.UTC().AppendFormat(append(dst, `{"time":"`...), time.RFC3339Nano), `","service":`...)
	dst = quote.Append(dst, o.service)
	dst = quote.Append(append(dst, `,"instance":`...), o.instance)
	dst = quote.Append(append(dst, `,"stream":`...), o.stream)
	dst = quote.Append(append(dst, `,"text":`...), text)
	return append(dst, '}')
}
