package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
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

// hopByHop are the headers that concern one connection (RFC 9110 section 7.6.1
// and what was customary before it), and Expect, which is answered here.
var hopByHop = map[string]bool{
	"Connection":          true,
	"Expect":              true,
	"Http2-Settings":      true,
	"Keep-Alive":          true,
	"Proxy-Authenticate":  true,
	"Proxy-Authorization": true,
	"Proxy-Connection":    true,
	"Te":                  true,
	"Trailer":             true,
	"Transfer-Encoding":   true,
	"Upgrade":             true,
}

// scrub removes from h, in place, all that the other side must not choose: what
// concerns the connection, what Connection lists, and our own headers.
//
// It also removes every header whose name has anything but letters, digits and
// hyphens: CGI and WSGI turn hyphens into underscores, so that to a program
// behind them Cofferdam_Caller is Cofferdam-Caller, and Content_Length is
// Content-Length. (nginx drops them for the same reason.)
func scrub(h http.Header) {
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			h.Del(textproto.TrimString(name))
		}
	}
	for name := range h {
		if !plainName(name) || hopByHop[name] || ours(name) {
			delete(h, name)
		}
	}
}

func plainName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
		default:
			return false
		}
	}
	return true
}

// ours tells whether a canonical name is one that only the gateway may set.
func ours(name string) bool {
	return name == headerID || name == "Forwarded" || name == "X-Real-Ip" ||
		strings.HasPrefix(name, "Cofferdam-") || strings.HasPrefix(name, "X-Forwarded-")
}

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

// forwarded sets what a service is told about a client outside.
func forwarded(h http.Header, in *http.Request) {
	if peer, err := netip.ParseAddrPort(in.RemoteAddr); err == nil {
		h.Set("X-Forwarded-For", peer.Addr().Unmap().String())
	}
	h.Set("X-Forwarded-Proto", "http")
	if in.Host != "" {
		h.Set("X-Forwarded-Host", in.Host)
	}
}
