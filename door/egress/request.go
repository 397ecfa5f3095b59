package egress

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"cofferdam/wire"
)

// maxHead is the longest head of an HTTP CONNECT, in bytes.
const maxHead = 8 << 10

// request is where a program wants to go, and how it is told whether it got
// there.
type request struct {
	endpoint string // as spell has it
	answer   func(wire.Code) []byte
}

var errRequest = errors.New("not a request for a connection")

// readRequest reads SOCKS5 (RFC 1928) or HTTP CONNECT (RFC 9110, 9.3.6), which
// differ in the first byte. A program that says anything else gets an answer in
// its own protocol, and an error comes back.
func readRequest(w io.Writer, in *bufio.Reader) (request, error) {
	first, err := in.Peek(1)
	switch {
	case err != nil:
		return request{}, err
	case first[0] == 5:
		return readSOCKS(w, in)
	}
	return readConnect(w, in)
}

// The answers of SOCKS5.
const (
	socksOK          = 0
	socksFailed      = 1
	socksDenied      = 2
	socksUnreachable = 4
	socksCommand     = 7
	socksAddress     = 8
)

func readSOCKS(w io.Writer, in *bufio.Reader) (request, error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return request{}, err
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(in, methods); err != nil {
		return request{}, err
	}
	if !bytes.Contains(methods, []byte{0}) { // no authentication: who asks is known
		w.Write([]byte{5, 0xff})
		return request{}, errRequest
	}
	if _, err := w.Write([]byte{5, 0}); err != nil {
		return request{}, err
	}
	var ask [4]byte
	if _, err := io.ReadFull(in, ask[:]); err != nil {
		return request{}, err
	}
	refuse := func(code byte) (request, error) {
		w.Write(socksAnswer(code))
		return request{}, errRequest
	}
	switch {
	case ask[0] != 5 || ask[2] != 0:
		return refuse(socksFailed)
	case ask[1] != 1: // BIND and UDP: nothing comes in, and there is no UDP
		return refuse(socksCommand)
	}
	var host string
	switch ask[3] {
	case 1, 4:
		raw := make([]byte, 4*int(ask[3]))
		if _, err := io.ReadFull(in, raw); err != nil {
			return request{}, err
		}
		addr, _ := netip.AddrFromSlice(raw)
		host = addr.String()
	case 3:
		size, err := in.ReadByte()
		if err != nil {
			return request{}, err
		}
		raw := make([]byte, size)
		if _, err := io.ReadFull(in, raw); err != nil {
			return request{}, err
		}
		host = string(raw)
	default:
		return refuse(socksAddress)
	}
	var port [2]byte
	if _, err := io.ReadFull(in, port[:]); err != nil {
		return request{}, err
	}
	return request{
		endpoint: spell(host, strconv.Itoa(int(binary.BigEndian.Uint16(port[:])))),
		answer: func(code wire.Code) []byte {
			switch code {
			case wire.OK:
				return socksAnswer(socksOK)
			case wire.Denied:
				return socksAnswer(socksDenied)
			case wire.Unavailable:
				return socksAnswer(socksUnreachable)
			}
			return socksAnswer(socksFailed)
		},
	}, nil
}

// socksAnswer names no address of ours: there is none that would help.
func socksAnswer(code byte) []byte { return []byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0} }

// readConnect reads a head line by line: all that matters is the first, and
// where the last one ends, for what follows is the tunnel's already.
func readConnect(w io.Writer, in *bufio.Reader) (request, error) {
	refuse := func(status string) (request, error) {
		w.Write(httpAnswer(status))
		return request{}, errRequest
	}
	line, total, err := readLine(in, 0)
	if err != nil {
		return refuse("400 Bad Request")
	}
	words := strings.Split(line, " ")
	for more := "."; more != ""; {
		if more, total, err = readLine(in, total); err != nil {
			return refuse("431 Request Header Fields Too Large")
		}
	}
	switch {
	case len(words) != 3 || words[2] != "HTTP/1.1" && words[2] != "HTTP/1.0":
		return refuse("400 Bad Request")
	case words[0] != "CONNECT":
		return refuse("405 Method Not Allowed")
	}
	at := strings.LastIndexByte(words[1], ':')
	if at < 0 {
		return refuse("400 Bad Request")
	}
	host, port := words[1][:at], words[1][at+1:]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok && strings.Contains(inner, ":") {
			host = inner
		}
	} else if strings.Contains(host, ":") {
		return refuse("400 Bad Request")
	}
	return request{
		endpoint: spell(host, port),
		answer: func(code wire.Code) []byte {
			switch code {
			case wire.OK:
				return []byte("HTTP/1.1 200 Connection established\r\n\r\n")
			case wire.Denied:
				return httpAnswer("403 Forbidden")
			case wire.Unavailable:
				return httpAnswer("502 Bad Gateway")
			}
			return httpAnswer("503 Service Unavailable")
		},
	}, nil
}

// readLine reads a line of a head of which total bytes were read before.
func readLine(in *bufio.Reader, total int) (string, int, error) {
	line, err := in.ReadSlice('\n')
	total += len(line)
	if err != nil || total > maxHead {
		return "", total, errRequest
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), total, nil
}

func httpAnswer(status string) []byte {
	return []byte("HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
}
