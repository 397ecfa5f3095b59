package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Heads are read here, in one way each. RFC 9112 lets a recipient guess at some that are
// written badly, and what two guess at differently is how a request is hidden in another
// one, so nothing is guessed: a line ends in CR LF, no line is folded, a name is a token with the
// colon right behind it, a body has one length or is in chunks. What comes out of here is
// written anew before it is sent on, from what it was found to mean.

// field is one field of a head.
type field struct{ name, value string }

// maxFields is how many of them one head may have.
const maxFields = 256

var (
	errHead     = errors.New("the head is not one that can be read in one way only")
	errHeadLong = errors.New("the head is too long")
)

// framing is what a head says of what follows it, and of the connection.
type framing struct {
	fields []field // but for those that concern the connection, and Host of a request
	listed []string

	length  int64 // of the body; -1 if nothing says so
	chunked bool
	minor   int  // of the version, after "HTTP/1."
	close   bool // nothing follows on this connection
	upgrade string
}

// request is the head of a request.
type request struct {
	framing
	method, target string
	path           string // decoded
	host           string
	expects        bool // "100 Continue", before it sends its body
}

// response is the head of an answer.
type response struct {
	framing
	status int
}

// cut takes the first line, without its end, off a head of which every line has one.
func cut(text string) (line, rest string) {
	end := strings.IndexByte(text, '\n')
	return text[:end-1], text[end+1:]
}

// parseRequest reads a head that ends with an empty line. It returns a status to refuse with, or 0.
func (r *request) parse(text string) (status int) {
	*r = request{framing: framing{fields: r.fields[:0], listed: r.listed[:0], length: -1}}
	line, text := cut(text)
	var version string
	var ok bool
	if r.method, line, ok = strings.Cut(line, " "); !ok || !token(r.method) {
		return http.StatusBadRequest
	}
	if r.target, version, ok = strings.Cut(line, " "); !ok || r.target == "" || !visible(r.target) {
		return http.StatusBadRequest
	}
	if r.minor, ok = parseVersion(version); !ok {
		return http.StatusBadRequest
	}
	if r.minor < 0 {
		return http.StatusHTTPVersionNotSupported
	}
	hosts := 0
	status = r.parseFields(text, func(k kind, value string) int {
		switch k {
		case isHost:
			hosts++
			if r.host = value; hosts > 1 || !hostText(value) {
				return http.StatusBadRequest
			}
		case isExpect:
			switch {
			case strings.EqualFold(value, "100-continue"):
				r.expects = r.minor > 0
			case value != "":
				return http.StatusExpectationFailed
			}
		}
		return 0
	})
	switch {
	case status != 0:
		return status
	case hosts == 0 && r.minor > 0:
		return http.StatusBadRequest
	case r.chunked && (r.length >= 0 || r.minor == 0):
		return http.StatusBadRequest
	}
	if !r.chunked && r.length < 0 {
		r.length = 0
	}
	if r.minor == 0 {
		r.close = true // and "keep-alive" is for proxies to stumble over
	}
	return 0
}

// locate finds the path of a request. A target is a path and a query: to what stands
// elsewhere nobody is led, and the authority in front of a path could be another one than Host.
func (r *request) locate() bool {
	path, _, _ := strings.Cut(r.target, "?")
	if !strings.HasPrefix(path, "/") || strings.IndexByte(path, '#') >= 0 {
		return false
	}
	if strings.IndexByte(path, '%') < 0 {
		r.path = path
		return true
	}
	decoded, err := url.PathUnescape(path)
	r.path = decoded
	return err == nil
}

// parse reads a head that ends with an empty line.
func (r *response) parse(text string) error {
	*r = response{framing: framing{fields: r.fields[:0], listed: r.listed[:0], length: -1}}
	line, text := cut(text)
	version, line, ok := strings.Cut(line, " ")
	if r.minor, _ = parseVersion(version); !ok || r.minor < 0 || !strings.HasPrefix(version, "HTTP/1.") {
		return errHead
	}
	code, reason, _ := strings.Cut(line, " ")
	if len(code) != 3 || code[0] < '1' || code[0] > '9' || !digits(code) || !fieldText(reason) {
		return errHead
	}
	r.status, _ = strconv.Atoi(code)
	if r.parseFields(text, nil) != 0 || r.chunked && (r.length >= 0 || r.minor == 0) {
		return errHead
	}
	if r.minor == 0 {
		r.close = true
	}
	return nil
}

// parseVersion gives -1 for a version that there is elsewhere.
func parseVersion(v string) (minor int, ok bool) {
	switch {
	case v == "HTTP/1.1":
		return 1, true
	case v == "HTTP/1.0":
		return 0, true
	case len(v) == len("HTTP/1.1") && strings.HasPrefix(v, "HTTP/") && v[6] == '.' && digits(v[5:6]) && digits(v[7:]):
		return -1, true
	}
	return -1, false
}

// parseFields reads the lines of fields. Those that concern the connection are taken in, and
// told to other if that is not nil. It returns a status, or 0.
func (f *framing) parseFields(text string, other func(kind, string) int) (status int) {
	for n := 0; ; n++ {
		var line string
		if line, text = cut(text); line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			return http.StatusBadRequest // a folded line as well: its name begins with a space
		}
		if value = strings.Trim(value, " \t"); !fieldText(value) {
			return http.StatusBadRequest
		}
		if n == maxFields {
			return http.StatusRequestHeaderFieldsTooLarge
		}
		switch k := kindOf(name); k {
		case isPlain, isOurs:
			f.fields = append(f.fields, field{name, value})
		case isLength:
			if f.length >= 0 || !f.parseLength(value) {
				return http.StatusBadRequest
			}
		case isCoding:
			if f.chunked || !strings.EqualFold(value, "chunked") {
				return http.StatusNotImplemented
			}
			f.chunked = true
		case isConnection:
			for name := range strings.SplitSeq(value, ",") {
				f.listed = append(f.listed, strings.Trim(name, " \t"))
			}
		case isUpgrade:
			if f.upgrade != "" {
				value = f.upgrade + ", " + value // of which none is asked for
			}
			f.upgrade = value
		default:
			if other != nil {
				if status := other(k, value); status != 0 {
					return status
				}
			}
		}
	}
	asked := false
	for _, name := range f.listed {
		f.close = f.close || strings.EqualFold(name, "close")
		asked = asked || strings.EqualFold(name, "upgrade")
	}
	if !asked {
		f.upgrade = ""
	}
	return 0
}

func (f *framing) parseLength(value string) bool {
	if len(value) > 18 || !digits(value) {
		return false
	}
	n, err := strconv.ParseInt(value, 10, 64)
	f.length = n
	return err == nil
}

// lists tells whether Connection names a field.
func (f *framing) lists(name string) bool {
	for _, one := range f.listed {
		if strings.EqualFold(one, name) {
			return true
		}
	}
	return false
}

// values are those of the fields with that name.
func (f *framing) values(name string) (all []string) {
	for _, one := range f.fields {
		if strings.EqualFold(one.name, name) {
			all = append(all, one.value)
		}
	}
	return all
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// Classes of characters.
const (
	inToken = 1 << iota
	inHost
	inPlain
)

var classes = func() (c [256]uint8) {
	for i := range c {
		b := byte(i)
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-':
			c[i] = inToken | inHost | inPlain
		case strings.IndexByte("!$&'*+._~", b) >= 0:
			c[i] = inToken | inHost
		case strings.IndexByte("#%^`|", b) >= 0:
			c[i] = inToken
		case strings.IndexByte("(),;=:[]", b) >= 0:
			c[i] = inHost
		}
	}
	c['%'] |= inHost
	return c
}()

func of(class uint8, s string) bool {
	for i := range len(s) {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

func token(s string) bool { return s != "" && of(inToken, s) }

// hostText allows an empty one, which RFC 9112 does for who has none.
func hostText(s string) bool { return of(inHost, s) }

// visible are the characters of a target.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// fieldText are those of a field's value.
func fieldText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
