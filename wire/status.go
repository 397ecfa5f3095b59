package wire

// StatusSize is how much of an HTTP answer [ParseStatus] looks at.
const StatusSize = len("HTTP/1.1 200 ")

// ParseStatus reads the status of an HTTP/1 answer from its first StatusSize bytes (RFC
// 9112, section 4), and nothing else of it. It returns an [ErrMalformed] for anything that
// does not begin like one.
func ParseStatus(b []byte) (int, error) {
	const before = len("HTTP/1.1 ")
	if len(b) < StatusSize || string(b[:7]) != "HTTP/1." || b[7] < '0' || b[7] > '9' || b[8] != ' ' {
		return 0, malformed("not the beginning of an HTTP/1 answer")
	}
	status := 0
	for _, digit := range b[before : before+3] {
		if digit < '0' || digit > '9' {
			return 0, malformed("not the status of an HTTP/1 answer")
		}
		status = 10*status + int(digit-'0')
	}
	if end := b[before+3]; status < 100 || end != ' ' && end != '\r' && end != '\n' {
		return 0, malformed("not the status of an HTTP/1 answer")
	}
	return status, nil
}
