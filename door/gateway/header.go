package gateway

import (
	"fmt"
	"slices"
	"strings"
)

// The headers that services may believe.
const (
	headerCaller    = "Cofferdam-Caller"
	headerPrincipal = "Cofferdam-Principal" // not there for nobody
	headerID        = "X-Request-Id"

	// headerDone tells a client, with a page of ours in place of an answer, whether
	// what it asked for was done: no, or maybe.
	headerDone = "Cofferdam-Done"

	// callerOutside is the caller of what comes from outside.
	callerOutside = "gateway"
)

// kind is what a field is to us, by its name.
type kind uint8

const (
	isPlain kind = iota
	isOurs       // only the gateway may set it
	isHop        // it concerns one connection (RFC 9110 section 7.6.1 and what was customary before it)
	isHost
	isLength
	isCoding
	isConnection
	isUpgrade
	isExpect // which is answered here
)

var kinds = map[string]kind{
	"connection":          isConnection,
	"content-length":      isLength,
	"expect":              isExpect,
	"forwarded":           isOurs,
	"host":                isHost,
	"http2-settings":      isHop,
	"keep-alive":          isHop,
	"proxy-authenticate":  isHop,
	"proxy-authorization": isHop,
	"proxy-connection":    isHop,
	"te":                  isHop,
	"trailer":             isHop,
	"transfer-encoding":   isCoding,
	"upgrade":             isUpgrade,
	"x-real-ip":           isOurs,
	"x-request-id":        isOurs,
}

func kindOf(name string) kind {
	var low [32]byte
	for i := range min(len(name), len(low)) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	head := low[:min(len(name), len(low))]
	if strings.HasPrefix(string(head), "cofferdam-") || strings.HasPrefix(string(head), "x-forwarded-") {
		return isOurs
	}
	if len(name) > len(low) {
		return isPlain
	}
	return kinds[string(head)]
}

// scrub leaves of the fields of a request what a service may be told: nothing that Connection lists, and
// none of our own.
//
// It also removes every field whose name has anything but letters, digits and
// hyphens: CGI and WSGI turn hyphens into underscores, so that to a program
// behind them Cofferdam_Caller is Cofferdam-Caller, and Content_Length is
// Content-Length. (nginx drops them for the same reason.)
func (f *framing) scrub() {
	f.fields = slices.DeleteFunc(f.fields, func(one field) bool {
		return !plainName(one.name) || kindOf(one.name) == isOurs || f.lists(one.name)
	})
}

// drop takes out the fields with that name.
func (f *framing) drop(name string) {
	f.fields = slices.DeleteFunc(f.fields, func(one field) bool { return strings.EqualFold(one.name, name) })
}

func plainName(name string) bool { return of(inPlain, name) }

// principalText is a principal's name in a header: in percent-encoding but for letters,
// digits and "-._~", as a segment of a path may have it.
func principalText(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// appendField writes a line.
func appendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}
